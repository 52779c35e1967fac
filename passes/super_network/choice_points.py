"""Choice points: the mixed node groups of a super network, found by structure.

A choice point of n candidates is (FNA++ Eq. 7, as plain ONNX)::

    p = Softmax(alpha);  p_0, ..., p_n-1 = Split(p);  y = Sum(out_0 * p_0, ..., out_n-1 * p_n-1)

with ``alpha`` a stored vector of n numbers and out_i what candidate i computes from the layer's
entry; for the candidate ``skip`` out_i is the entry itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.units import constant
from ..errors import UnsupportedGraphError
from ..graph import Graph

CERTAIN = 1.0e4  # exp(-2e4) is 0 in every float type, so softmax over +-1e4 is exactly one-hot


@dataclasses.dataclass(frozen=True)
class ChoicePoint:
    """One layer of a super network; everything is in candidate order.

    ``regions`` holds each candidate's nodes in execution order, [] for ``skip``; ``outputs`` the
    tensor each candidate leaves; ``mixing`` the nodes that mix (Softmax, Split, Muls, Sum).
    """

    sum: gs.Node
    muls: list[gs.Node]
    alpha: gs.Constant
    entry: gs.Tensor
    regions: list[list[gs.Node]]
    outputs: list[gs.Tensor]
    mixing: list[gs.Node]

    @property
    def output(self) -> gs.Tensor:
        """The mixed tensor that the rest of the network reads."""
        return self.sum.outputs[0]

    def skip(self) -> int | None:
        """Return the index of the candidate that passes the entry on, if there is one."""
        return next((i for i, region in enumerate(self.regions) if not region), None)


def find_choice_points(graph: Graph) -> list[ChoicePoint]:
    """Return the choice points of ``graph`` in network order.

    Raises UnsupportedGraphError if a choice point's candidates do not share one entry.
    """
    place = {id(node): i for i, node in enumerate(graph.nodes)}
    return [
        _choice_point(graph, node, split, place)
        for node in graph.nodes
        if node.op == "Sum" and (split := _mixing_split(graph, node)) is not None
    ]


def set_alphas(graph: Graph, choices: Sequence[int]) -> Graph:
    """Return a copy of a super network whose softmaxes are exactly one-hot at ``choices``."""
    twin = graph.copy()
    points = find_choice_points(twin)
    for point, choice in zip(points, choices, strict=True):
        values = np.full(point.alpha.shape, -CERTAIN, point.alpha.dtype)
        values[choice] = CERTAIN
        point.alpha.values = values
    return twin


def _mixing_split(graph: Graph, node: gs.Node) -> gs.Node | None:
    """Return the Split of the softmaxed alphas that weigh the inputs of a Sum, if they do."""
    splits = []
    for tensor in node.inputs:
        mul = graph.producer(tensor)
        if mul is None or mul.op != "Mul":
            return None
        found = [s for t in mul.inputs if (s := _alpha_split(graph, t)) is not None]
        if len(found) != 1:
            return None
        splits.append(found[0])
    if not splits or any(s is not splits[0] for s in splits):
        return None
    return splits[0] if len(splits[0].outputs) == len(splits) else None


def _alpha_split(graph: Graph, tensor: gs.Tensor) -> gs.Node | None:
    split = graph.producer(tensor)
    if split is None or split.op != "Split":
        return None
    softmax = graph.producer(split.inputs[0])
    if softmax is None or softmax.op != "Softmax":
        return None
    alpha = softmax.inputs[0]
    return split if isinstance(alpha, gs.Constant) and len(alpha.shape) == 1 else None


def _choice_point(
    graph: Graph, node: gs.Node, split: gs.Node, place: dict[int, int]
) -> ChoicePoint:
    order = {id(tensor): i for i, tensor in enumerate(split.outputs)}
    muls: list[gs.Node] = [node] * len(order)
    outputs: list[gs.Tensor] = list(split.outputs)
    for tensor in node.inputs:
        mul = tensor.inputs[0]
        first, second = mul.inputs
        share, out = (first, second) if id(first) in order else (second, first)
        muls[order[id(share)]] = mul
        outputs[order[id(share)]] = out
    regions = [_region(graph, mul, out, place) for mul, out in zip(muls, outputs, strict=True)]
    softmax = split.inputs[0].inputs[0]
    entries: dict[int, gs.Tensor] = {}
    for region, out in zip(regions, outputs, strict=True):
        made = {id(t) for n in region for t in n.outputs}
        reads = [t for n in region for t in n.inputs] if region else [out]
        for tensor in reads:
            if tensor.name and not isinstance(tensor, gs.Constant) and id(tensor) not in made:
                entries[id(tensor)] = tensor
    if len(entries) != 1:
        names = ", ".join(t.name for t in entries.values()) or "nothing"
        raise UnsupportedGraphError(
            f"{node.name}: the candidates of this choice point read {names}; one entry is wanted"
        )
    return ChoicePoint(
        sum=node,
        muls=muls,
        alpha=constant(softmax.inputs[0]),
        entry=next(iter(entries.values())),
        regions=regions,
        outputs=outputs,
        mixing=[softmax, split, *muls, node],
    )


def _region(graph: Graph, mul: gs.Node, out: gs.Tensor, place: dict[int, int]) -> list[gs.Node]:
    """Return the nodes that work for ``out`` alone, in execution order."""
    inside: dict[int, gs.Node] = {id(mul): mul}
    stack = list(out.inputs)
    while stack:
        node = stack.pop()
        if id(node) in inside or any(graph.is_output(t) for t in node.outputs):
            continue
        if all(id(reader) in inside for t in node.outputs for reader in t.outputs):
            inside[id(node)] = node
            stack.extend(p for t in node.inputs for p in t.inputs)
    del inside[id(mul)]
    return sorted(inside.values(), key=lambda node: place[id(node)])
