"""Find the choice points of an ONNX graph: Sum of Mul with Split(Softmax(alpha)).

Structure alone counts. The entry of a layer is the last tensor that every way from the inputs
to any candidate's output goes through (the nearest common dominator).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import onnx

from .building.facts import Facts


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """One layer: ``regions[i]`` are candidate i's nodes, from ``entry`` to ``outputs[i]``.

    ``inside`` are the ids of all nodes that the choice module stands for.
    """

    alpha: str
    entry: str
    output: str
    outputs: list[str]
    regions: list[list[onnx.NodeProto]]
    inside: frozenset[int]

    @property
    def name(self) -> str:
        """The layer's name: alpha's without its ending."""
        return self.alpha.removesuffix(".alpha")


def find_points(graph: onnx.GraphProto, facts: Facts) -> list[Point]:
    """Return the choice points in network order.

    A mixture of which an inner tensor is read from outside is not one: it is imported as the
    plain nodes it is made of.
    """
    stored = {t.name: t for t in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    dominators: _Dominators | None = None
    points = []
    for node in graph.node:
        found = _mixture(node, facts, stored) if node.op_type == "Sum" else None
        if found is None:
            continue
        muls, outputs, split, softmax = found
        dominators = dominators or _Dominators(graph, stored)
        entry = dominators.common(outputs)
        if entry is None:
            continue
        regions = [_region(out, entry, facts) for out in outputs]
        inside = {id(n) for n in [node, split, softmax, *muls]}
        inside.update(id(n) for region in regions for n in region)
        made = [t for n in _unique(regions, [split, softmax, *muls]) for t in n.output if t]
        results = {o.name for o in graph.output}
        if any(t in results or any(id(r) not in inside for r in readers.get(t, [])) for t in made):
            continue
        points.append(
            Point(softmax.input[0], entry, node.output[0], outputs, regions, frozenset(inside))
        )
    return points


def _mixture(
    node: onnx.NodeProto, facts: Facts, stored: dict[str, onnx.TensorProto]
) -> tuple[list[onnx.NodeProto], list[str], onnx.NodeProto, onnx.NodeProto] | None:
    """Return (Muls, candidate outputs, Split, Softmax) if a Sum mixes under alphas, in order."""
    rows: dict[int, tuple[onnx.NodeProto, str]] = {}
    split: onnx.NodeProto | None = None
    if len(node.input) < 2:
        return None
    for tensor in node.input:
        mul = facts.producers.get(tensor)
        if mul is None or mul.op_type != "Mul":
            return None
        for a, b in (mul.input, reversed(mul.input)):
            source = facts.producers.get(b)
            weighs = source is not None and source.op_type == "Split"
            if source is not None and weighs and (split is None or source is split):
                split = source
                rows[list(source.output).index(b)] = (mul, a)
                break
        else:
            return None
    if split is None or sorted(rows) != list(range(len(split.output))):
        return None
    softmax = facts.producers.get(split.input[0])
    if softmax is None or softmax.op_type != "Softmax" or softmax.input[0] not in stored:
        return None
    if list(stored[softmax.input[0]].dims) != [len(rows)]:
        return None
    ordered = [rows[k] for k in range(len(rows))]
    return [m for m, _ in ordered], [a for _, a in ordered], split, softmax


def _region(output: str, entry: str, facts: Facts) -> list[onnx.NodeProto]:
    """Return the nodes between entry and output, constants' nodes among them, in order."""
    done: set[int] = set()
    order: list[onnx.NodeProto] = []
    stack: list[tuple[str, bool]] = [(output, False)]
    while stack:
        tensor, finished = stack.pop()
        node = facts.producers.get(tensor)
        if tensor == entry or node is None:
            continue
        if finished:
            order.append(node)
        elif id(node) not in done:
            done.add(id(node))
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(node.input) if t)
    return order


def _unique(
    regions: Iterable[list[onnx.NodeProto]], more: list[onnx.NodeProto]
) -> list[onnx.NodeProto]:
    """Return the nodes that compute; shared constants may be read from anywhere."""
    nodes = {id(n): n for region in regions for n in region if n.op_type != "Constant"}
    return [*nodes.values(), *more]


class _Dominators:
    """The dominator tree of a graph's tensors; weights and constants do not count."""

    def __init__(self, graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto]) -> None:
        self._above: dict[str, str | None] = {}
        self._depth: dict[str, int] = {}
        for value in graph.input:
            if value.name not in stored:
                self._put(value.name, None)
        for node in graph.node:
            fed = [t for t in node.input if t in self._depth]
            if not fed:
                continue
            first = self.common(fed)
            for tensor in node.output:
                if tensor:
                    self._put(tensor, first)

    def common(self, tensors: list[str]) -> str | None:
        """Return the nearest tensor that dominates all of these, None if there is none."""
        if any(t not in self._depth for t in tensors):
            return None
        a: str | None = tensors[0]
        for other in tensors[1:]:
            b: str | None = other
            while a != b and a is not None and b is not None:
                if self._depth[a] >= self._depth[b]:
                    a = self._above[a]
                else:
                    b = self._above[b]
            if a is None or b is None:
                return None
        return a

    def _put(self, tensor: str, above: str | None) -> None:
        self._above[tensor] = above
        self._depth[tensor] = 0 if above is None else self._depth[above] + 1
