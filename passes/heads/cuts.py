"""Cuts: tensors that every path from the image to the last output goes through."""

from __future__ import annotations

from collections import Counter

import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.operators import READS_SIZE


def deepest_output(graph: Graph) -> gs.Tensor:
    """Return the output that is computed last."""
    place = {id(node): index for index, node in enumerate(graph.nodes)}
    return max(graph.outputs, key=lambda t: max((place[id(n)] for n in t.inputs), default=-1))


def find_cuts(graph: Graph, *ends: gs.Tensor) -> list[gs.Tensor]:
    """Return the cuts between the inputs and all ``ends``, in order; one end is its own last cut.

    What reads only the shape of a tensor does not count as reading it.
    """
    needed = ancestors(*ends)
    nodes = [n for n in graph.nodes if id(n) in needed and n.op not in READS_SIZE]
    reading = Counter(id(t) for node in nodes for t in {id(t): t for t in node.inputs}.values())
    reading.update(id(end) for end in ends)  # whoever takes them from here
    live = {id(tensor) for tensor in graph.inputs if reading[id(tensor)]}
    cuts = []
    for node in nodes:
        moving = [t for t in {id(t): t for t in node.inputs}.values() if id(t) in live]
        for tensor in moving:
            reading[id(tensor)] -= 1
            if not reading[id(tensor)]:
                live.discard(id(tensor))
        if not moving:
            continue  # made of constants
        live |= {id(t) for t in node.outputs if reading[id(t)]}
        if len(live) == 1 and id(node.outputs[0]) in live:
            cuts.append(node.outputs[0])
    return cuts


def ancestors(*ends: gs.Tensor) -> set[int]:
    """Return the ids of the nodes that ``ends`` are computed from."""
    needed: set[int] = set()
    stack = [node for end in ends for node in end.inputs]
    while stack:
        node = stack.pop()
        if id(node) not in needed:
            needed.add(id(node))
            stack.extend(maker for tensor in node.inputs for maker in tensor.inputs)
    return needed
