"""Rewrites with a mistake in them: each must be caught by the verifier and named at a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import onnx_graphsurgeon as gs

from fnac.passes.base import Pass, Report
from fnac.passes.graph import Graph
from fnac.passes.super_network.choice_points import find_choice_points

Mistake = Callable[[Graph, Report], str]


@dataclasses.dataclass(frozen=True)
class Faulty(Pass):
    """Runs ``right`` and then makes ``mistake`` in what it left; promises what ``right`` does."""

    right: Pass
    mistake: Mistake
    spoilt: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Go by the name and the promises of the pass that is spoilt."""
        object.__setattr__(self, "name", self.right.name)
        object.__setattr__(self, "keeps", self.right.keeps)

    def run(self, graph: Graph) -> Report:
        """Run, then spoil; ``spoilt`` names the node."""
        report = self.right.run(graph)
        self.spoilt.append(self.mistake(graph, report))
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield what the right pass yields."""
        yield from self.right.proofs(before, after)


def rewritten_depthwise(graph: Graph, report: Report) -> gs.Node:
    """Return the last depthwise or grouped convolution that the pass made or changed."""
    made = [
        node
        for node in graph.nodes
        if node.op == "Conv"
        and int(node.attrs.get("group", 1)) > 1
        and "padded" in report.initializers.get(node.inputs[1].name, "")
    ]
    return made[-1]


def wrong_pad(graph: Graph, report: Report) -> str:
    """Shift the window: one row less before, one more behind. Sizes stay right."""
    node = rewritten_depthwise(graph, report)
    top, left, bottom, right = node.attrs["pads"]
    node.attrs["pads"] = [top - 1, left, bottom + 1, right]
    return str(node.name)


def wrong_group_count(graph: Graph, report: Report) -> str:
    """Pair the channels: half as many groups, each output reading its neighbour as well."""
    node = rewritten_depthwise(graph, report)
    weight = node.inputs[1]
    node.attrs["group"] = int(node.attrs["group"]) // 2
    doubled = np.repeat(weight.values, 2, axis=1)
    node.inputs[1] = gs.Constant(graph.new_name(f"{weight.name}.spoilt"), doubled)
    return str(node.name)


def channel_offset(graph: Graph, report: Report) -> str:
    """Roll the channels of a depthwise weight by one."""
    node = rewritten_depthwise(graph, report)
    node.inputs[1].values = np.roll(node.inputs[1].values, 1, axis=0)
    return str(node.name)


def swapped_branch(graph: Graph, report: Report) -> str:
    """Let the weight of one candidate weigh another's output."""
    point = find_choice_points(graph)[-1]
    first, second = point.muls[:2]
    a = next(i for i, t in enumerate(first.inputs) if t is not point.outputs[0])
    b = next(i for i, t in enumerate(second.inputs) if t is not point.outputs[1])
    one, other = first.inputs[a], second.inputs[b]
    first.inputs[a], second.inputs[b] = other, one
    return str(second.name)


def swapped_entry(graph: Graph, report: Report) -> str:
    """Let a rewritten depthwise convolution read what its block reads from elsewhere."""
    node = rewritten_depthwise(graph, report)
    twins = [
        t
        for n in graph.nodes
        for t in n.outputs
        if t is not node.inputs[0]
        and n is not node
        and n.op == graph.producer(node.inputs[0]).op
        and _channels(graph, t) == int(node.inputs[1].shape[0])
    ]
    node.inputs[0] = twins[0]
    return str(node.name)


def _channels(graph: Graph, tensor: gs.Tensor) -> int | None:
    node = graph.producer(tensor)
    while node is not None and node.op != "Conv":
        node = graph.producer(node.inputs[0])
    return None if node is None else int(node.inputs[1].shape[0])


MISTAKES: dict[str, Mistake] = {
    "wrong pad": wrong_pad,
    "wrong group count": wrong_group_count,
    "channel offset": channel_offset,
}
