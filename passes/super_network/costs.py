"""What each candidate of a super network costs, and what everything around them costs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from ..cost import node_madds, owned_parameters
from ..graph import Graph
from ..shapes.sized_shapes import shapes_at
from ..stored_layers import StoredCandidate, StoredLayer, write_layers
from .plan import Layer


def write_costs(
    graph: Graph, layers: Sequence[Layer], regions: Sequence[Sequence[list[gs.Node]]]
) -> None:
    """Write ``layers``, ``fixed_madds`` and ``fixed_params`` into the manifest of ``graph``.

    The chosen candidates' numbers and the fixed ones sum to the profile of the chosen network at
    the file's size (convention ``exact``). Alphas are no parameters of any network.

    Raises UnsupportedGraphError if the file does not say how large its images are.
    """
    shapes = shapes_at(graph, graph.image_size())
    params = owned_parameters(graph.nodes)
    alone: set[int] = set()
    stored = []
    for layer, candidates in zip(layers, regions, strict=True):
        costs = []
        for candidate, nodes in zip(layer.candidates, candidates, strict=True):
            alone.update(id(node) for node in nodes)
            madds = sum(node_madds(node, shapes) for node in nodes)
            costs.append(
                StoredCandidate(candidate.name, madds, sum(params[id(node)] for node in nodes))
            )
        stored.append(
            StoredLayer(
                name=layer.name,
                stage=layer.stage,
                candidates=tuple(costs),
                seed_choice=layer.seed_choice,
                stride=1 if layer.added else layer.block.stride,
                dilation=layer.block.dilation,
                channels=layer.block.out_channels,
            )
        )
    outside = [n for n in graph.nodes if id(n) not in alone and not _holds_alphas(n)]
    write_layers(graph.manifest, stored)
    graph.manifest["fixed_madds"] = sum(node_madds(node, shapes) for node in outside)
    graph.manifest["fixed_params"] = sum(params[id(node)] for node in outside)


def _holds_alphas(node: gs.Node) -> bool:
    return node.op == "Softmax" and isinstance(node.inputs[0], gs.Constant)
