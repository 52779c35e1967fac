"""The super network in the report: layers, their candidates and costs, fixed parts.

Everything comes from one file, `super.onnx`: the manifest has the layers, their geometry, costs and
the seed's choices; the fixed blocks are found in its graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.passes.graph.convolution import Conv
from fnac.passes.stored_layers import StoredLayer, read_layers

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from fnac.passes.blocks.block import Block
    from fnac.passes.graph import Graph


@dataclass(frozen=True)
class Cost:
    """The cost of an arch: MAdds (exact convention, at the manifest's size), parameters."""

    madds: int
    params: int


@dataclass(frozen=True)
class FixedBlock:
    """A block that no search touches: `label` is `conv3x3`, or `k3e1` for an MBConv."""

    label: str
    stride: int = 1
    dilation: int = 1
    channels: int = 0
    after_layers: bool = False


@dataclass(frozen=True)
class Network:
    """A super network: layers in network order, and the fixed parts around them."""

    layers: tuple[StoredLayer, ...]
    fixed: tuple[FixedBlock, ...] = ()
    head: str | None = None
    fixed_madds: int = 0
    fixed_params: int = 0
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed_choices(self) -> tuple[str, ...]:
        """The seed's own candidate of each layer."""
        return tuple(str(layer.seed_choice) for layer in self.layers)

    def cost(self, choices: Sequence[str], stage: int | None = None) -> Cost:
        """Cost of an arch: of the whole network, or of one stage without fixed parts.

        Raises ArchError if a choice is no candidate of its layer.
        """
        chosen = [
            layer.candidates[layer.index(choice)]
            for layer, choice in zip(self.layers, choices, strict=True)
            if stage is None or layer.stage == stage
        ]
        fixed = Cost(self.fixed_madds, self.fixed_params) if stage is None else Cost(0, 0)
        return Cost(
            fixed.madds + sum(cost.madds for cost in chosen),
            fixed.params + sum(cost.params for cost in chosen),
        )


def read_hidden(path: Path) -> dict[str, int]:
    """Return the channels that each convolution of a file puts out, by the node's name."""
    from fnac.passes.graph import Graph

    return {
        node.name: int(node.inputs[1].shape[0])
        for node in Graph.load(path).nodes
        if node.op == "Conv" and node.inputs[1].shape is not None
    }


def read_network(path: Path) -> Network:
    """Read a super network from its file; raises ValueError if its manifest has no layers."""
    from fnac.passes.graph import Graph

    graph = Graph.load(path)
    manifest = graph.manifest
    layers = read_layers(manifest)
    if not layers:
        raise ValueError("the manifest has no layers")
    head = manifest.get("head")
    return Network(
        layers=layers,
        fixed=_fixed_blocks(graph),
        head=None if head is None else str(head),
        fixed_madds=int(manifest.get("fixed_madds") or 0),
        fixed_params=int(manifest.get("fixed_params") or 0),
        manifest=manifest,
    )


def _fixed_blocks(graph: Graph) -> tuple[FixedBlock, ...]:
    """Return the backbone's blocks, and convolutions outside of blocks, that are in no layer."""
    from fnac.passes.blocks.find import find_blocks

    place = {id(node): i for i, node in enumerate(graph.nodes)}
    searched = [place[id(node)] for node in graph.nodes if "fnac.layer" in node.metadata]
    if not searched:
        return ()  # nothing says which node belongs to which layer
    first, last = searched[0], searched[-1]
    blocks: list[tuple[int, FixedBlock]] = []
    inside: set[int] = set()
    for block in find_blocks(graph, alone=False).blocks:
        if not any("fnac.layer" in node.metadata for node in block.nodes):
            inside.update(id(node) for node in block.nodes)
            at = place[id(block.nodes[0])]
            blocks.append((at, _of_block(block, after_layers=at > first)))
    for node in graph.nodes:
        if node.op == "Conv" and id(node) not in inside and _stands_alone(node):
            at = place[id(node)]
            # a 1x1 convolution among the layers is an expansion that a head reads, or a shortcut
            if not first < at < last or max(node.inputs[1].shape[2:]) > 1:
                blocks.append((at, _of_convolution(node, after_layers=at > first)))
    return tuple(block for _, block in sorted(blocks, key=lambda one: one[0]))


def _stands_alone(conv: gs.Node) -> bool:
    in_head = conv.metadata.get("fnac.part") == "head"
    shape = conv.inputs[1].shape
    return (
        not in_head and "fnac.layer" not in conv.metadata and shape is not None and len(shape) == 4
    )


def _of_block(block: Block, *, after_layers: bool) -> FixedBlock:
    return FixedBlock(block.name, block.stride, block.dilation, block.out_channels, after_layers)


def _of_convolution(conv: gs.Node, *, after_layers: bool) -> FixedBlock:
    channels, _, height, width = (int(d) for d in conv.inputs[1].shape)
    stride, dilation = max(Conv(conv).strides), max(Conv(conv).dilations)
    return FixedBlock(f"conv{height}x{width}", stride, dilation, channels, after_layers)
