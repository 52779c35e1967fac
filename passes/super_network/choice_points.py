"""Choice points: the mixed node groups of a super network, in the compiler's graph.

What one is, :mod:`.mixtures` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.units import constant
from ..graph import Graph
from .mixtures import Wiring, find_mixtures

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
    """Return the choice points of ``graph`` in network order."""
    nodes = graph.nodes
    wiring = [
        Wiring(node.op, tuple(t.name for t in node.inputs), tuple(t.name for t in node.outputs))
        for node in nodes
    ]
    tensors = {t.name: t for node in nodes for t in (*node.inputs, *node.outputs)}
    stored = {name: t.shape for name, t in tensors.items() if isinstance(t, gs.Constant)}
    results = [tensor.name for tensor in graph.outputs]
    return [
        ChoicePoint(
            sum=nodes[mixture.sum],
            muls=[nodes[place] for place in mixture.muls],
            alpha=constant(tensors[mixture.alpha]),
            entry=tensors[mixture.entry],
            regions=[[nodes[place] for place in region] for region in mixture.regions],
            outputs=[tensors[name] for name in mixture.outputs],
            mixing=[nodes[place] for place in mixture.mixing],
        )
        for mixture in find_mixtures(wiring, results, stored)
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
