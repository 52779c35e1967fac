"""Features of many images, kept at a cut through the network, so that nothing runs twice.

A network is worked on from its input to its outputs. :class:`Features` holds, for all images, the
tensors that cross the place that has been reached; what lies behind is run from them, batch by
batch, and :meth:`Features.advance` moves the cut. Weights behind the cut may change at any time.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from ..graph.model_checks import one_line
from ..graph.parts import part_model
from .calibrate import check_fit
from .runner import ort_errors
from .sessions import open_session

if TYPE_CHECKING:
    import onnxruntime

MEMORY = 1 << 30  # bytes of kept tensors in memory; more goes into a temporary file
BATCH = 8
Arrays = Mapping[str, np.ndarray]


class Features:
    """Tensors of a network for all images at the current place.

    images  (N, C, H, W) float32, as the network's only input wants them
    batch   images a run; the file's own where it insists on one
    memory  bytes that kept tensors may take; what is beyond lies in a temporary file

    Memory beside the kept tensors: one batch of what is asked for, and what onnxruntime needs to
    run a batch through the nodes between.

    Raises UnsupportedGraphError for a network that does not take one image, or images that do
    not fit it.
    """

    def __init__(
        self, graph: Graph, images: np.ndarray, *, batch: int = BATCH, memory: int = MEMORY
    ) -> None:
        self.graph = graph
        self.batch = _batch(graph, images, batch)
        self.count = len(images)
        self.place = 0
        self.memory = memory
        self._kept: dict[str, np.ndarray] = {graph.inputs[0].name: images}
        self._always = graph.inputs[0].name

    def fork(self, graph: Graph) -> Features:
        """Return the same features for a copy of the network that is equal up to this place."""
        twin = Features.__new__(Features)
        twin.__dict__.update(self.__dict__)
        twin.graph, twin._kept = graph, dict(self._kept)
        return twin

    def stream(self, names: Sequence[str]) -> Iterator[Arrays]:
        """Yield tensors by name, batch by batch, in the order of the images."""
        names = list(dict.fromkeys(names))
        stored = [name for name in names if name in self._kept]
        computed = [name for name in names if name not in self._kept]
        session, inputs = self._session(computed) if computed else (None, [])
        for start in range(0, self.count, self.batch):
            part = slice(start, start + self.batch)
            part_values = {name: np.asarray(self._kept[name][part]) for name in stored}
            if session is not None:
                feed = {name: np.ascontiguousarray(self._kept[name][part]) for name in inputs}
                try:
                    results = session.run(computed, feed)
                except ort_errors() as error:
                    raise PassFailedError(
                        f"onnxruntime cannot run the graph: {one_line(error)}"
                    ) from error
                part_values.update(zip(computed, results, strict=True))
            yield part_values

    def read(self, name: str) -> np.ndarray:
        """Return one tensor for all images."""
        if name in self._kept:
            return self._kept[name]
        return np.concatenate([batch[name] for batch in self.stream([name])])

    def advance(self, place: int) -> None:
        """Move the cut to just before the node at ``place`` of the graph's order."""
        if place <= self.place:
            return
        crossing = self._crossing(place)
        new = [name for name in crossing if name not in self._kept]
        stored: dict[str, np.ndarray] = {}
        if new:
            start = 0
            for batch in self.stream(new):
                for name, values in batch.items():
                    if len(values) != min(self.batch, self.count - start) or values.ndim < 2:
                        continue  # of no image: a size, say; it is computed again when needed
                    if name not in stored:
                        others = [*self._kept.values(), *stored.values()]
                        stored[name] = room_for(
                            (self.count, *values.shape[1:]), values.dtype, others, self.memory
                        )
                    stored[name][start : start + len(values)] = values
                start += self.batch
        keep = {*crossing, self._always}
        self._kept = {n: a for n, a in self._kept.items() if n in keep} | stored
        self.place = place

    def _crossing(self, place: int) -> list[str]:
        """Return the tensors computed from the images before ``place`` and read at it or later."""
        derived: dict[int, gs.Tensor] = {id(self.graph.inputs[0]): self.graph.inputs[0]}
        for node in self.graph.nodes[:place]:
            if any(id(t) in derived for t in node.inputs):
                derived.update((id(t), t) for t in node.outputs)
        read = {id(t) for node in self.graph.nodes[place:] for t in node.inputs}
        read |= {id(t) for t in self.graph.outputs}
        return [t.name for key, t in derived.items() if key in read]

    def _session(self, names: Sequence[str]) -> tuple[onnxruntime.InferenceSession, list[str]]:
        """Return a session that computes ``names``, and the kept tensors that it reads."""
        needed = set(names)
        nodes: list[gs.Node] = []
        inputs: dict[str, np.ndarray] = {}
        for node in reversed(self.graph.nodes):
            if not any(t.name in needed and t.name not in self._kept for t in node.outputs):
                continue
            nodes.append(node)
            for tensor in node.inputs:
                if tensor.name in self._kept:
                    inputs[tensor.name] = self._kept[tensor.name]
                elif tensor.name and not isinstance(tensor, gs.Constant):
                    needed.add(tensor.name)
        return _open(part_model(self.graph, nodes[::-1], inputs, names)), list(inputs)


def room_for(
    shape: tuple[int, ...], dtype: np.dtype, others: Iterable[np.ndarray], memory: int
) -> np.ndarray:
    """Return an array to write to: in memory, or in a temporary file once ``memory`` is used up.

    others  what takes of the ``memory`` bytes already
    """
    taken = sum(array.nbytes for array in others if not isinstance(array, np.memmap))
    if taken + math.prod(shape) * np.dtype(dtype).itemsize <= memory:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the map keeps it open
        return np.memmap(file, dtype, "w+", shape=shape)


def _open(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    # what is fused depends on where a part begins and ends; features must not
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return open_session(model, options)
    except ort_errors() as error:
        raise PassFailedError(f"onnxruntime cannot run the graph: {one_line(error)}") from error


def _batch(graph: Graph, images: np.ndarray, asked: int) -> int:
    check_fit(graph, images)
    fixed = graph.inputs[0].shape[0]
    if not isinstance(fixed, int):
        return asked
    if len(images) % fixed:
        raise UnsupportedGraphError(
            f"input {graph.inputs[0].name}: the file takes {fixed} images at once; "
            f"{len(images)} do not divide into such batches"
        )
    return fixed
