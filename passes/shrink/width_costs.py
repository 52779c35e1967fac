"""What a network costs as a polynomial in the widths of its hidden channels, exactly.

A convolution costs (output pixels * window) * rows * columns. Rows and columns are constant, or the
widths of sets of hidden channels: cost = fixed + sum linear_i w_i + sum pair_ij w_i w_j, whole
numbers throughout. A reader without bias and without normalisation behind counts the bias that a
fit gives it, so that a network of which some such readers stay as they were costs less.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import onnx_graphsurgeon as gs

from ..blocks.hidden_channels import HiddenChannels
from ..graph import Graph, Shape
from .linear import linear_of


@dataclasses.dataclass(frozen=True)
class WidthCosts:
    """fixed + sum linear[i] * w_i + sum pairs[i, j] * w_i * w_j, i < j."""

    fixed: int
    linear: tuple[int, ...]
    pairs: Mapping[tuple[int, int], int]

    def of(self, widths: Sequence[int]) -> int:
        """Return the cost of the whole network with these widths."""
        cost = self.fixed + sum(a * w for a, w in zip(self.linear, widths, strict=True))
        return cost + sum(c * widths[i] * widths[j] for (i, j), c in self.pairs.items())


def width_costs(
    graph: Graph,
    sets: Sequence[HiddenChannels],
    shapes: Mapping[str, Shape],
    total: int,
    *,
    of: str = "madds",
) -> WidthCosts:
    """Return the cost of ``graph`` by the widths of ``sets``.

    shapes  of all tensors for one image
    total   what the network costs as it is
    of      ``madds`` or ``params``
    """
    rows, columns = _who_makes_and_reads(sets)
    linear = [0] * len(sets)
    pairs: Counter[tuple[int, int]] = Counter()
    for node in graph.nodes:
        own, read = rows.get(id(node)), columns.get(id(node), [])
        if own is None and not read:
            continue
        outputs, inputs, each = _product(node, shapes, of)
        if own is None:
            for i in read:
                linear[i] += each * outputs
            continue
        linear[own] += each * (inputs - sum(sets[i].count for i in read))
        for i in read:
            if i == own:
                raise ValueError(f"{node.name} reads the channels that it makes")
            pairs[min(i, own), max(i, own)] += each
    if of == "params":
        for i, channels in enumerate(sets):
            linear[i] += _stored_per_channel(channels)
    varying = WidthCosts(0, tuple(linear), dict(pairs)).of([one.count for one in sets])
    fresh = 0
    if of == "params":
        for node, biases in _readers_without_bias(graph, sets):
            own = rows.get(id(node))
            if own is None:
                fresh += biases
            else:
                linear[own] += 1
    return WidthCosts(total - varying + fresh, tuple(linear), dict(pairs))


def _who_makes_and_reads(
    sets: Sequence[HiddenChannels],
) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Return id of node -> the set whose channels are its rows; and those that are its columns."""
    rows: dict[int, int] = {}
    columns: dict[int, list[int]] = {}
    for i, channels in enumerate(sets):
        rows.update((id(node), i) for node in (*channels.makers, *channels.grouped))
        for reading in channels.readings:
            columns.setdefault(id(reading.node), []).append(i)
    return rows, columns


def _product(node: gs.Node, shapes: Mapping[str, Shape], of: str) -> tuple[int, int, int]:
    """Return outputs and inputs of a linear layer, and the cost of one weight between them."""
    weight = [int(d) for d in node.inputs[1].shape]
    if node.op == "Gemm":
        inputs = weight[1] if node.attrs.get("transB", 0) else weight[0]
        return math.prod(weight) // inputs, inputs, 1
    outputs, inputs = weight[:2]
    each = math.prod(weight[2:]) if node.op == "Conv" else 1
    if of == "madds":
        each *= math.prod(int(str(d)) for d in shapes[node.outputs[0].name][2:])
    return outputs, inputs, each


def _stored_per_channel(channels: HiddenChannels) -> int:
    """Return the parameters of one channel outside the weights of its linear layers."""
    count = 0
    for slot in channels.slots:
        if slot.node.op in ("Conv", "Gemm") and slot.index == 1:
            continue
        if slot.node.op == "BatchNormalization" and slot.index in (3, 4):
            continue
        array = slot.node.inputs[slot.index]
        count += math.prod(array.shape) // int(array.shape[slot.axis])
    return count


def _readers_without_bias(
    graph: Graph, sets: Sequence[HiddenChannels]
) -> Iterator[tuple[gs.Node, int]]:
    """Yield each reader to which a fit gives a bias, and how many numbers that has."""
    for node in {id(r.node): r.node for one in sets for r in one.readings}.values():
        layer = linear_of(graph, node)
        if layer.bias is None and layer.bn is None:
            yield node, len(layer.weight)
