"""What each candidate of a super network costs, and what everything around them costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import onnx_graphsurgeon as gs

from ..cost import node_madds, owned_parameters
from ..graph import Graph
from ..shapes.sized_shapes import shapes_at


class NamedLayer(Protocol):
    """A layer as the manifest names it."""

    @property
    def name(self) -> str:
        """Name of the layer."""

    @property
    def stage(self) -> int:
        """Number of the stage it is in."""

    @property
    def seed_choice(self) -> str:
        """The candidate that is the seed."""

    @property
    def candidates(self) -> Sequence[Any]:
        """The candidates; each has a ``name``."""


def write_costs(
    graph: Graph, layers: Sequence[NamedLayer], regions: Sequence[Sequence[list[gs.Node]]]
) -> None:
    """Write ``layers``, ``fixed_madds`` and ``fixed_params`` into the manifest of ``graph``.

    The chosen candidates' numbers and the fixed ones sum to the profile of the chosen network at
    the file's size (convention ``exact``). Alphas are no parameters of any network.

    Raises UnsupportedGraphError if the file does not say how large its images are.
    """
    shapes = shapes_at(graph, graph.image_size())
    params = owned_parameters(graph.nodes)
    alone: set[int] = set()
    entries = []
    for layer, candidates in zip(layers, regions, strict=True):
        costs = []
        for candidate, nodes in zip(layer.candidates, candidates, strict=True):
            alone.update(id(node) for node in nodes)
            costs.append(
                {
                    "name": candidate.name,
                    "madds": sum(node_madds(node, shapes) for node in nodes),
                    "params": sum(params[id(node)] for node in nodes),
                }
            )
        entries.append(
            {
                "name": layer.name,
                "stage": layer.stage,
                "candidates": costs,
                "seed_choice": layer.seed_choice,
            }
        )
    outside = [n for n in graph.nodes if id(n) not in alone and not _holds_alphas(n)]
    graph.manifest["layers"] = entries
    graph.manifest["fixed_madds"] = sum(node_madds(node, shapes) for node in outside)
    graph.manifest["fixed_params"] = sum(params[id(node)] for node in outside)


def _holds_alphas(node: gs.Node) -> bool:
    return node.op == "Softmax" and isinstance(node.inputs[0], gs.Constant)
