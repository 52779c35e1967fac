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
from collections.abc import Mapping, Sequence

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
    rows: dict[int, int] = {}
    columns: dict[int, list[int]] = {}
    for i, channels in enumerate(sets):
        rows.update((id(node), i) for node in (*channels.makers, *channels.grouped))
        for reading in channels.readings:
            columns.setdefault(id(reading.node), []).append(i)
    linear = [0] * len(sets)
    pairs: Counter[tuple[int, int]] = Counter()
    for node in graph.nodes:
        own, read = rows.get(id(node)), columns.get(id(node), [])
        if own is None and not read:
            continue
        weight = [int(d) for d in node.inputs[1].shape]
        if node.op == "Gemm":
            pixels = 1
            inputs = weight[1] if node.attrs.get("transB", 0) else weight[0]
            outputs = math.prod(weight) // inputs
        else:
            pixels = math.prod(int(str(d)) for d in shapes[node.outputs[0].name][2:])
            outputs, inputs = weight[:2]
        each = math.prod(weight[2:]) if node.op == "Conv" else 1
        each *= pixels if of == "madds" else 1
        free = inputs - sum(sets[i].count for i in read)
        if own is None:
            for i in read:
                linear[i] += each * outputs
            continue
        linear[own] += each * free
        for i in read:
            if i == own:
                raise ValueError(f"{node.name} reads the channels that it makes")
            pairs[min(i, own), max(i, own)] += each
    if of == "params":
        for i, channels in enumerate(sets):
            for slot in channels.slots:
                if slot.node.op in ("Conv", "Gemm") and slot.index == 1:
                    continue
                if slot.node.op == "BatchNormalization" and slot.index in (3, 4):
                    continue
                array = slot.node.inputs[slot.index]
                linear[i] += math.prod(array.shape) // int(array.shape[slot.axis])
    widths = [channels.count for channels in sets]
    varying = WidthCosts(0, tuple(linear), dict(pairs)).of(widths)
    fresh = 0
    for node in {id(r.node): r.node for one in sets for r in one.readings}.values():
        linear_layer = linear_of(graph, node)
        if of == "params" and linear_layer.bias is None and linear_layer.bn is None:
            own = rows.get(id(node))
            if own is None:
                fresh += len(linear_layer.weight)
            else:
                linear[own] += 1
    return WidthCosts(total - varying + fresh, tuple(linear), dict(pairs))
