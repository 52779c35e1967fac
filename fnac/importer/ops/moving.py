"""Moving data: gather, scatter, expand, tile, pad, depth to space."""

from __future__ import annotations

from typing import Any

import torch

from fnac.passes.errors import UnsupportedGraphError

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..runtime import indexing, layout


@converter("GatherElements", 11)
def gather_elements(builder: Builder, node: Node) -> Any:
    """GatherElements: one index an element."""
    return builder.call(indexing.gather_elements, *node.inputs[:2], node.get("axis", 0))


@converter("GatherND", 11)
def gather_nd(builder: Builder, node: Node) -> Any:
    """GatherND: index tuples in the last axis."""
    return builder.call(indexing.gather_nd, *node.inputs[:2], node.get("batch_dims", 0))


@converter("ScatterElements", 11)
def scatter_elements(builder: Builder, node: Node) -> Any:
    """ScatterElements, also adding, multiplying, taking the smaller or larger value."""
    kind = node.get("reduction", "none")
    return builder.call(indexing.scatter_elements, *node.inputs[:3], node.get("axis", 0), kind)


@converter("ScatterND", 11)
def scatter_nd(builder: Builder, node: Node) -> Any:
    """ScatterND, also adding, multiplying, taking the smaller or larger value."""
    return builder.call(indexing.scatter_nd, *node.inputs[:3], node.get("reduction", "none"))


@converter("Expand", 8)
def expand(builder: Builder, node: Node) -> Any:
    """Expand: broadcast both ways."""
    return builder.call(layout.expand, node.inputs[0], builder.numbers(node.inputs[1]))


@converter("Tile", 6)
def tile(builder: Builder, node: Node) -> Any:
    """Tile: repeat along each axis."""
    return builder.call(layout.tile, node.inputs[0], builder.numbers(node.inputs[1]))


@converter("Pad", 1)
def pad_by_attributes(builder: Builder, node: Node) -> Any:
    """Pad before version 11."""
    pads = node.get("pads", node.get("paddings"))
    return _pad(builder, node, pads, node.get("value", 0.0), None)


@converter("Pad", 11)
def pad(builder: Builder, node: Node) -> Any:
    """Pad by a constant, the edge, a reflection or by wrapping around."""
    value = node.input(2)
    filler: Any = 0
    if value is not None:
        known = builder.static(value)
        filler = known.reshape(-1)[0].item() if known is not None else value
    return _pad(
        builder, node, builder.numbers(node.inputs[1]), filler, builder.numbers(node.input(3))
    )


def _pad(builder: Builder, node: Node, pads: Any, value: Any, axes: Any) -> Any:
    mode = node.get("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise UnsupportedGraphError(
            f"{node.label}: mode {mode!r}; wanted constant, edge, reflect or wrap"
        )
    return builder.call(layout.pad, node.inputs[0], pads, mode, value, axes)


@converter("DepthToSpace", 1, 11)
def depth_to_space(builder: Builder, node: Node) -> Any:
    """DepthToSpace; column-row-depth order is nn.PixelShuffle."""
    x, block = node.inputs[0], node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return builder.call(torch.pixel_shuffle, x, block)
    return builder.call(layout.depth_to_space, x, block)


@converter("SpaceToDepth", 1)
def space_to_depth(builder: Builder, node: Node) -> Any:
    """SpaceToDepth."""
    channel_first = node.get("mode", "DCR") == "CRD"
    return builder.call(layout.space_to_depth, node.inputs[0], node.get("blocksize"), channel_first)
