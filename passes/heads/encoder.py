"""Find the encoder of a network that has a head of its own: segmentation, detection, keypoints.

The encoder is what every prediction is made of before anything is enlarged, and before features
of different strides meet.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ..blocks.tensor_strides import tensor_strides
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.operators import (
    ENDS_FEATURES,
    ENLARGING,
    GLOBAL_POOLS,
    LAYERS,
    POOLS_TO_POINT,
    READS_SIZE,
)
from .cuts import ancestors, deepest_output, find_cuts

LEAST, MOST = 16, 32
"""Strides between which an encoder ends; what is deeper belongs to a detector."""


def has_own_head(graph: Graph) -> bool:
    """Say whether ``graph`` is more than a classifier or a backbone.

    That is: an output is no tensor that all that is computed later goes through; or something on
    the way enlarges features, and not all is pooled to a point behind it (HRNet's classifier); or
    what is made of several strides is joined, and not pooled or flattened as one (a detector's rows
    of all scales in one output, landmarks of several scales); or boxes are suppressed.
    """
    cuts = find_cuts(graph, deepest_output(graph))
    trunk = {id(cut) for cut in cuts}
    if any(id(output) not in trunk for output in graph.outputs):
        return True
    needed = ancestors(*graph.outputs)
    if any(id(node) in needed and node.op == "NonMaxSuppression" for node in graph.nodes):
        return True
    strides = tensor_strides(graph)
    enlarges = any(id(node) in needed and _enlarges(node, strides) for node in graph.nodes)
    if enlarges and not any(cut.inputs[0].op in POOLS_TO_POINT for cut in cuts):
        return True
    joined = _of_several_strides(graph)
    behind = [cut.inputs[0].op for cut in cuts if id(cut) in joined]
    return bool(behind) and not any(op in (*ENDS_FEATURES, "Flatten") for op in behind)


def _of_several_strides(graph: Graph) -> set[int]:
    """Return the ids of the tensors that tensors of different strides were made one of."""
    strides = tensor_strides(graph)
    joined: set[int] = set()
    sizes: set[int] = set()
    for node in graph.nodes:
        made_of = [t for t in node.inputs if id(t) in strides and id(t) not in sizes]
        if not made_of or node.op in READS_SIZE:
            sizes.update(id(t) for t in node.outputs)
        elif len({strides[id(t)] for t in made_of}) > 1 or any(id(t) in joined for t in made_of):
            joined.update(id(t) for t in node.outputs)
    return joined


def _enlarges(node: gs.Node, strides: Mapping[int, float]) -> bool:
    """Say whether a node makes features larger; a Resize may make them smaller, in a stem."""
    ends = (strides.get(id(one), 1.0) for one in (node.outputs[0], node.inputs[0]))
    return node.op in ENLARGING and next(ends) <= next(ends)


def encoder_ends(graph: Graph) -> list[gs.Tensor]:
    """Return the tensors of the encoder's deepest stride that the rest of the network reads.

    Raises UnsupportedGraphError for an encoder that ends before stride 16.
    """
    strides = tensor_strides(graph)
    inside = _of_one_stride(graph, strides)
    reached = [strides[key] for key in inside if strides[key] <= MOST]
    deepest = max(reached, default=1.0)
    if deepest < LEAST:
        raise UnsupportedGraphError(
            f"features of stride {deepest:g} are enlarged, or meet those of another stride: the "
            f"network has no encoder that goes to stride {LEAST}; leave --task out to keep its head"
        )
    there = {key for key in inside if strides[key] == deepest}
    leading: set[int] = set()  # nodes that something of the deepest stride is made of
    for node in reversed(graph.nodes):
        readers = [reader for t in node.outputs for reader in graph.consumers(t)]
        if any(id(t) in there for t in node.outputs) or any(id(r) in leading for r in readers):
            leading.add(id(node))
    ends = []
    for node in graph.nodes:
        for tensor in node.outputs:
            readers = [r for r in graph.consumers(tensor) if r.op not in READS_SIZE]
            left = graph.is_output(tensor) or not all(id(r) in leading for r in readers)
            if id(tensor) in there and (left or not readers):
                ends.append(tensor)
    return ends


def features_of_encoder(graph: Graph, cuts: list[gs.Tensor]) -> gs.Tensor:
    """Return the last of the encoder's ``cuts``, which must have its deepest stride.

    Where a layer makes it that no layer follows (logits that are enlarged, rows of boxes), it is a
    prediction already: the cut that this layer reads is returned.

    Raises UnsupportedGraphError if no one tensor holds all features of that stride.
    """
    strides = tensor_strides(graph)
    deepest = max(strides[id(tensor)] for tensor in encoder_ends(graph))
    if not cuts or strides.get(id(cuts[-1])) != deepest:
        raise UnsupportedGraphError(
            f"no one tensor of stride {deepest:g} holds all that the network's own head reads; "
            "leave --task out to keep the head"
        )
    read = _read_by_layers(graph)
    features = [cut for cut in cuts if id(cut) in read and strides.get(id(cut)) == deepest]
    if not features or id(cuts[-1]) in _without_layers(graph, features[-1]):
        return cuts[-1]
    return features[-1]


def _without_layers(graph: Graph, tensor: gs.Tensor) -> set[int]:
    """Return the ids of ``tensor`` and of what is made of it on a way without layers."""
    reached = {id(tensor)}
    for node in graph.nodes:
        if node.op not in LAYERS and any(id(t) in reached for t in node.inputs):
            reached.update(id(t) for t in node.outputs)
    return reached


def _read_by_layers(graph: Graph) -> set[int]:
    """Return the ids of the tensors that a convolution or linear layer is computed from."""
    read: set[int] = set()
    for node in reversed(graph.nodes):
        if node.op in LAYERS or any(id(t) in read for t in node.outputs):
            read.update(id(t) for t in node.inputs)
    return read


def _of_one_stride(graph: Graph, strides: dict[int, float]) -> list[int]:
    """Return ids of tensors that are neither globally pooled nor computed from several strides.

    What a pooled tensor only scales (squeeze-excitation) is not pooled; where one stands beside
    others, spread out, a head has begun.
    """
    pooled: set[int] = set()
    mixed: set[int] = set()
    sizes: set[int] = set()
    inside: list[int] = []
    for node in graph.nodes:
        made_of = [t for t in node.inputs if id(t) in strides and id(t) not in sizes]
        if not made_of or node.op in READS_SIZE:
            sizes.update(id(t) for t in node.outputs)
            continue
        several = len({strides[id(t)] for t in made_of}) > 1
        several = several or (node.op == "Concat" and any(id(t) in pooled for t in made_of))
        if _enlarges(node, strides) or several or any(id(t) in mixed for t in made_of):
            mixed.update(id(t) for t in node.outputs)
        elif node.op in GLOBAL_POOLS or all(id(t) in pooled for t in made_of):
            pooled.update(id(t) for t in node.outputs)
        else:
            inside.extend(id(t) for t in node.outputs)
    return inside
