"""Narrow a network from input to outputs, each step on the features after the last one.

Hidden channels are taken away where their loss costs least, and who reads them is fitted, on the
features of the network *as it has become*, towards what the original gave there:

    y' = y + (x - x') / s

where x is what is added to the layer's result behind its normalisation of scale s (the block's
input, of a residual): what the blocks before lost is made good as well. An error of an output
counts s^2 times.

What makes the channels first has its weights W adapted to its input x' as it is now: they become
W M, with M x' + d the best linear estimate of the original's input x.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.hidden_channels import HiddenChannels, Reading, keep_channels, trace_hidden
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.surgery import set_inputs
from ..remap.eliminate import Elimination, Reader, eliminate_together
from ..remap.fit import refit
from ..remap.fit_arrays import with_constant
from ..remap.gram import Floats, Gram, Moments, Window
from .channel_statistics import match_statistics, recalibrate
from .linear import Linear, addend_of, columns_left, leave_columns, linear_of
from .original import Original

PIXELS = 1 << 15  # pixels that moments are taken over, if there are so many; over all images
AT_LEAST = 8  # times as many pixels as unknowns
WORK = 1e10  # and as many as take so many multiplications: more where unknowns are few
SMALL_SCALE = 1e-2  # of the median: an output scaled less is not asked to make errors good


@dataclasses.dataclass(frozen=True)
class Step:
    """What became of one set of hidden channels.

    curve  relative error of every width, 0 to all, as far as it was measured
    error  relative error of the readers after the fit, by reader
    """

    name: str
    was: int
    width: int
    curve: Floats | None
    error: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Look:
    """A set of hidden channels in the network narrowed so far; moments by reader's name."""

    name: str
    channels: HiddenChannels
    moments: Mapping[str, Moments]


class Narrowing:
    """The original network and its narrowed copy, with the features of both.

    original  several may be made of one; left as it is
    result    the network that is being made; its nodes are those of the original, in their order
    """

    def __init__(
        self,
        original: Original,
        *,
        pixels: int = PIXELS,
        residual: bool = True,
        weighted: bool = True,
        adapted: bool = True,
    ) -> None:
        self.original = original
        self.result = original.graph.copy()
        self.after = original.at(0).fork(self.result)
        self.pixels = pixels
        self.residual = residual
        self.weighted = weighted
        self.adapted = adapted
        self.touched = False
        self.first = len(original.graph.nodes)
        self.kept: dict[str, np.ndarray] = {}
        self.fitted: frozenset[str] = frozenset()
        self.initializers: dict[str, str] = {}
        self._place = {node.name: i for i, node in enumerate(original.graph.nodes)}

    def fork(self) -> Narrowing:
        """Return an independent twin at the same place."""
        twin = object.__new__(Narrowing)
        twin.__dict__.update(self.__dict__)
        twin.result = self.result.copy()
        twin.after = self.after.fork(twin.result)
        twin.initializers = dict(self.initializers)
        twin.kept = dict(self.kept)
        return twin

    def restarted(self) -> Narrowing:
        """Return an independent twin of the network as it is now, back at its input."""
        twin = self.fork()
        twin.after = self.original.at(0).fork(twin.result)
        return twin

    def narrow(self, name: str, width: int | None) -> Step:
        """Keep ``width`` of a convolution's hidden channels; None: all of them.

        Must be called in the order of the network. With all of them left nothing is done as long
        as nothing has changed before.
        """
        count = Conv(self.result.nodes[self.place(name)]).rows
        width = count if width is None else width
        if width == count and not self.touched:
            return Step(name, count, width, None, {})
        if self.touched and self.adapted:
            self._adapt(name)
        look = self.look(name)
        elimination = self.eliminate(look) if width < count else None
        return self.cut(look, width, elimination)

    def place(self, name: str) -> int:
        """Return the place of a node in the order of both networks."""
        return self._place[name]

    def look(self, name: str) -> Look:
        """Advance to a set of hidden channels and gather moments of its readers' inputs."""
        place = self._place[name]
        self.advance(place)
        channels = trace_hidden(self.result, self.result.nodes[place])
        return Look(name, channels, self._measure(self._readings(channels), place))

    def advance(self, place: int) -> None:
        """Go to a place in the order of the nodes."""
        if self.touched:
            self.after.advance(place)
        elif place > self.after.place:  # both are the same so far
            self.after = self.original.at(place).fork(self.result)

    def eliminate(self, look: Look) -> Elimination:
        """Return the order in which channels are removed, and the error of every width."""
        return self._eliminate(look.channels, self._readings(look.channels), look.moments)

    def cut(self, look: Look, width: int, elimination: Elimination | None) -> Step:
        """Keep ``width`` channels and fit their readers; all of them without an elimination."""
        channels, moments = look.channels, look.moments
        readings = self._readings(channels)
        kept, curve = np.arange(channels.count), None
        if elimination is not None:
            kept, curve = elimination.kept(width), elimination.error
            keep_channels(self.result, channels, kept, self.initializers)
            self.kept.update((n.name, kept) for n in (*channels.makers, *channels.grouped))
        errors = {}
        pooled = [r for r in readings if channels.feedback and r.reading.pooled is not None]
        for reading in pooled:
            errors[reading.name] = self._fit(reading, channels, kept, moments)
        rest = [r for r in readings if r not in pooled]
        if pooled:  # the gate has changed
            for reading in rest:
                self._only_columns(reading, channels, kept)
            channels = trace_hidden(self.result, channels.makers[0])
            rest = [r for r in self._readings(channels) if r.reading.pooled is None]
            moments, kept = self._measure(rest, self.after.place), np.arange(len(kept))
        for reading in rest:
            errors[reading.name] = self._fit(reading, channels, kept, moments)
        self.touched = True
        self.fitted |= set(errors)
        self.first = min(self.first, self._place[look.name])
        return Step(look.name, look.channels.count, width, curve, errors)

    @contextlib.contextmanager
    def trial(self, look: Look) -> Iterator[None]:
        """Undo on exit everything done to one set of hidden channels."""
        nodes = [*look.channels.nodes]
        for pair in self._readings(look.channels):
            nodes += [pair.linear.node, *([pair.linear.bn] if pair.linear.bn is not None else [])]
        stored = [(node, list(node.inputs), dict(node.attrs)) for node in nodes]
        shapes = [(t, t.shape) for node in nodes for t in node.outputs]
        state = (self.touched, self.first, self.fitted, dict(self.kept), dict(self.initializers))
        try:
            yield
        finally:
            for node, inputs, attrs in stored:
                set_inputs(node, inputs)
                node.attrs.update(attrs)
            for tensor, shape in shapes:
                tensor.shape = shape
            self.touched, self.first, self.fitted, self.kept, self.initializers = state

    def match(self) -> None:
        """Give all convolutions after the first change the statistics of the original."""
        self._match(self.result, 1.0)

    def matched(self, strength: float = 1.0) -> Graph:
        """Return a copy of the network as it is now, its statistics matched so far."""
        copy = self.result.copy()
        self._match(copy, strength)
        return copy

    def recalibrated(self) -> Graph:
        """Return a copy of the network as it is now, its batch normalisations recalibrated."""
        copy = self.result.copy()
        recalibrate(
            copy,
            self.original.images,
            first=self.first,
            initializers=self.initializers,
            batch=self.original.batch,
        )
        return copy

    def _match(self, graph: Graph, strength: float) -> None:
        match_statistics(
            graph,
            self.original.statistics(),
            self.original.images,
            first=self.first,
            kept=self.kept,
            initializers=self.initializers,
            strength=strength,
            batch=self.original.batch,
        )

    # ------------------------------------------------------------------ measuring

    def _readings(self, channels: HiddenChannels) -> list[_Pair]:
        pairs = []
        for reading in channels.readings:
            node = self.original.graph.nodes[self._place[reading.node.name]]
            original = linear_of(self.original.graph, node)
            linear = linear_of(self.result, reading.node)
            rows = self.kept.get(str(node.name))
            addend = addend_of(self.original.graph, original)
            pairs.append(_Pair(reading, linear, original, addend, rows))
        return pairs

    def _measure(self, pairs: Sequence[_Pair], place: int) -> dict[str, Moments]:
        """Stream both networks from a place to the readers; return moments by reader's name."""
        grams: dict[str, Gram] = {}
        olds = [name for pair in pairs for name in pair.reads_before(self.residual)]
        news = [name for pair in pairs for name in pair.reads_after(self.residual)]
        before, after = self.original.stream(place, olds), self.after.stream(news)
        for old, new in zip(before, after, strict=True):
            for pair in pairs:
                features, target = pair.features(new), pair.target(old, new, self.residual)
                key = pair.name
                if key not in grams:
                    grams[key] = self._gram(pair, features, target)
                grams[key].add(features, target)
        return {key: gram.moments() for key, gram in grams.items()}

    def _gram(self, pair: _Pair, features: np.ndarray, target: np.ndarray) -> Gram:
        channels, window = features.shape[1], pair.window
        return Gram(
            channels,
            window=window,
            outputs=target.shape[1],
            pixels_per_picture=self._pixels(channels * window.taps),
        )

    def _pixels(self, unknowns: int) -> int:
        """Return how many pixels of each image a fit of so many unknowns is made on."""
        pixels = max(self.pixels, AT_LEAST * unknowns, int(WORK / unknowns**2))
        return -(-pixels // self.after.count)

    # ------------------------------------------------------------------ fitting

    def _adapt(self, name: str) -> None:
        """Adapt a 1x1 convolution to its input as it is now; those that were fitted are already.

        One without bias and norm stays: it has no place for a constant.
        """
        place = self._place[name]
        node = self.result.nodes[place]
        linear, window = linear_of(self.result, node), linear_of(self.result, node).window
        plain = window.kernel == 1 and not any(window.pads) and Conv(node).groups == 1
        if name in self.fitted or not plain or (linear.bias is None and linear.bn is None):
            return
        self.advance(place)
        tensor, channels, step = node.inputs[0].name, linear.weight.shape[1], window.stride
        gram = Gram(
            channels,
            window=window,
            outputs=channels,
            pixels_per_picture=self._pixels(channels),
        )
        before, after = self.original.stream(place, [tensor]), self.after.stream([tensor])
        for old, new in zip(before, after, strict=True):
            gram.add(new[tensor], old[tensor][:, :, ::step, ::step])
        moments = gram.moments()
        estimate = refit(
            moments.second, np.eye(channels), np.arange(channels), moments.target
        )  # M, d
        weight = linear.weight[:, :, 0, 0].astype(np.float64)
        bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.astype(np.float64)
        arrays = with_constant(
            linear.arrays(),
            (weight @ estimate.weight)[:, :, None, None],
            bias + weight @ estimate.bias,
        )
        linear.store(self.result, arrays, self.initializers)

    def _eliminate(
        self, channels: HiddenChannels, pairs: Sequence[_Pair], moments: Mapping[str, Moments]
    ) -> Elimination:
        readers = []
        for pair in pairs:
            moment = moments[pair.name]
            weight, offset = pair.linear.weight, pair.reading.offset
            rows = np.abs(pair.linear.scale) if self.weighted else None
            if weight.shape[1] == channels.count:
                readers.append(Reader(moment.second, weight, moment.target, rows))
                continue
            taps = pair.window.taps
            own = np.arange(offset * taps, (offset + channels.count) * taps)
            own = np.append(own, len(moment.second) - 1)
            part = weight[:, offset : offset + channels.count]
            readers.append(Reader(moment.second[np.ix_(own, own)], part, None, rows))
        return eliminate_together(readers)

    def _fit(
        self,
        pair: _Pair,
        channels: HiddenChannels,
        kept: np.ndarray,
        moments: Mapping[str, Moments],
    ) -> float:
        moment = moments[pair.name]
        weight = pair.linear.weight
        columns = columns_left(weight.shape[1], pair.reading.offset, channels.count, kept)
        rows = np.abs(pair.linear.scale) if self.weighted else None
        fit = refit(moment.second, weight, columns, moment.target, row_weights=rows)
        arrays = with_constant(pair.linear.arrays(), fit.weight, fit.bias)
        pair.linear.store(self.result, arrays, self.initializers)
        return fit.error

    def _only_columns(self, pair: _Pair, channels: HiddenChannels, kept: np.ndarray) -> None:
        """Keep only a reader's columns of kept channels, unfitted, so that the network runs."""
        offset, count = pair.reading.offset, channels.count
        leave_columns(self.result, pair.linear, offset, count, kept, self.initializers)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A reader in the narrowed network and in the original."""

    reading: Reading
    linear: Linear
    original: Linear
    addend: gs.Tensor | None  # in the original
    rows: np.ndarray | None  # of the original's outputs, those that it has kept; None: all

    @property
    def name(self) -> str:
        return str(self.linear.node.name)

    @property
    def window(self) -> Window:
        return self.linear.window

    def reads_before(self, residual: bool) -> list[str]:
        if self.reading.pooled is not None:
            return [self.reading.pooled.name]
        names = [self.original.node.outputs[0].name]
        return names + ([self.addend.name] if self.addend is not None and residual else [])

    def reads_after(self, residual: bool) -> list[str]:
        if self.reading.pooled is not None:
            return [self.reading.pooled.name]
        names = [self.reading.tensor.name]
        return names + ([self.addend.name] if self.addend is not None and residual else [])

    def features(self, new: Mapping[str, np.ndarray]) -> np.ndarray:
        tensor = self.reading.pooled or self.reading.tensor
        return new[tensor.name]

    def target(
        self, old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], residual: bool
    ) -> np.ndarray:
        rows = slice(None) if self.rows is None else self.rows
        if self.reading.pooled is not None:
            return np.asarray(_applied(self.original, old[self.reading.pooled.name])[:, rows])
        target = old[self.original.node.outputs[0].name][:, rows].astype(np.float64)
        if self.addend is None or not residual:
            return target
        lost = old[self.addend.name].astype(np.float64) - new[self.addend.name]
        scale = self.original.scale[rows]
        floor = SMALL_SCALE * float(np.median(np.abs(scale)))
        share = scale / np.maximum(scale**2 + floor**2, 1e-30)
        return np.asarray(target + lost * share[:, None, None])


def _applied(linear: Linear, features: np.ndarray) -> np.ndarray:
    """Return a 1x1 convolution's result at each pixel of the features that are pooled before it."""
    weight = linear.weight[:, :, 0, 0].astype(np.float64)
    result = np.einsum("mc,nchw->nmhw", weight, features.astype(np.float64), optimize=True)
    bias = linear.bias
    return np.asarray(result if bias is None else result + bias[:, None, None])
