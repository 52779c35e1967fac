"""The super network as the report shows it: layers, their candidates and costs, what is fixed.

Everything comes from one file, `super.onnx`: the manifest has layers, costs and the seed's choices;
strides, dilations, widths and the fixed blocks are read off its nodes (`fnac.layer` and
`fnac.part` in their metadata; where a node carries none, the drawing merely has fewer labels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fnac.passes.graph import Graph


@dataclass(frozen=True)
class Cost:
    """What one candidate costs: MAdds (exact convention, at the manifest's size), parameters."""

    madds: int
    params: int


@dataclass(frozen=True)
class Layer:
    """A searchable position. Stride, dilation and channels are 0 where they are not known."""

    name: str
    stage: int
    candidates: Mapping[str, Cost]
    seed_choice: str
    stride: int = 0
    dilation: int = 0
    channels: int = 0


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
    """A super network: layers in network order, and what stays around them."""

    layers: tuple[Layer, ...]
    fixed: tuple[FixedBlock, ...] = ()
    head: str | None = None
    fixed_madds: int = 0
    fixed_params: int = 0
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed_choices(self) -> tuple[str, ...]:
        """One candidate a layer: the seed's own."""
        return tuple(layer.seed_choice for layer in self.layers)

    def cost(self, choices: Sequence[str], stage: int | None = None) -> Cost:
        """Cost of an arch: the whole network's, or without what is fixed that of one stage.

        Raises KeyError if a choice is no candidate of its layer.
        """
        chosen = [
            layer.candidates[choice]
            for layer, choice in zip(self.layers, choices, strict=True)
            if stage is None or layer.stage == stage
        ]
        fixed = Cost(self.fixed_madds, self.fixed_params) if stage is None else Cost(0, 0)
        return Cost(
            fixed.madds + sum(cost.madds for cost in chosen),
            fixed.params + sum(cost.params for cost in chosen),
        )

    def problem_with(self, choices: Sequence[str]) -> str | None:
        """Say why an arch does not belong to this super network; None if it does."""
        if len(choices) != len(self.layers):
            return f"{len(choices)} choices; the super network has {len(self.layers)} layers"
        for layer, choice in zip(self.layers, choices):
            if choice not in layer.candidates:
                return f"layer {layer.name}: {choice} is none of {', '.join(layer.candidates)}"
        return None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of an ONNX file; {} if it has none.

    Raises OSError, or UnsupportedGraphError for a file that is not ONNX.
    """
    from fnac.passes.graph import Graph

    return Graph.load(path).manifest


def read_network(path: Path) -> Network:
    """Read a super network from its file; raises ValueError if its manifest has no layers."""
    from fnac.passes.graph import Graph

    graph = Graph.load(path)
    return _with_geometry(from_manifest(graph.manifest), _convolutions(graph))


def from_manifest(manifest: Mapping[str, Any]) -> Network:
    """Read layers and costs from a manifest; raises ValueError if it has no layers."""
    try:
        layers = tuple(
            Layer(
                name=str(layer["name"]),
                stage=int(layer["stage"]),
                candidates={
                    str(c["name"]): Cost(int(c["madds"]), int(c["params"]))
                    for c in layer["candidates"]
                },
                seed_choice=str(layer["seed_choice"]),
                stride=int(layer.get("stride") or 0),
                dilation=int(layer.get("dilation") or 0),
                channels=int(layer.get("channels") or 0),
            )
            for layer in manifest["layers"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the manifest has no usable layers ({error!r})") from error
    head = manifest.get("head")
    return Network(
        layers=layers,
        head=None if head is None else str(head),
        fixed_madds=int(manifest.get("fixed_madds") or 0),
        fixed_params=int(manifest.get("fixed_params") or 0),
        manifest=manifest,
    )


@dataclass(frozen=True)
class _Convolution:
    """A Conv node: where it belongs, and its numbers (weight shape: out, in / groups, k, k)."""

    layer: str | None
    kernel: int
    stride: int
    dilation: int
    groups: int
    inputs: int
    outputs: int


def _convolutions(graph: Graph) -> list[_Convolution]:
    """List the backbone's convolutions in node order."""
    found = []
    for node in graph.nodes:
        weight = node.inputs[1] if node.op == "Conv" else None
        shape = None if weight is None else weight.shape
        if shape is None or len(shape) != 4 or node.metadata.get("fnac.part") == "head":
            continue
        groups = int(node.attrs.get("group", 1))
        found.append(
            _Convolution(
                layer=node.metadata.get("fnac.layer"),
                kernel=int(shape[2]),
                stride=max(node.attrs.get("strides") or [1]),
                dilation=max(node.attrs.get("dilations") or [1]),
                groups=groups,
                inputs=int(shape[1]) * groups,
                outputs=int(shape[0]),
            )
        )
    return found


def _with_geometry(network: Network, convolutions: Sequence[_Convolution]) -> Network:
    """Add strides, dilations, widths and the fixed blocks."""
    known = {layer.name for layer in network.layers}
    if not any(convolution.layer in known for convolution in convolutions):
        return network  # nothing says which node belongs to which layer
    layers = []
    for layer in network.layers:
        own = [convolution for convolution in convolutions if convolution.layer == layer.name]
        if own:
            layer = replace(
                layer,
                stride=max(convolution.stride for convolution in own),
                dilation=max(convolution.dilation for convolution in own),
                channels=own[-1].outputs,
            )
        layers.append(layer)
    first = next(i for i, convolution in enumerate(convolutions) if convolution.layer in known)
    before = [c for c in convolutions[:first] if c.layer is None]
    last = max(i for i, convolution in enumerate(convolutions) if convolution.layer in known)
    # a 1x1 convolution among the layers is an expansion that a head reads: its block is drawn
    after = [
        c
        for i, c in enumerate(convolutions)
        if i > first and c.layer is None and (i > last or c.kernel > 1 or c.groups > 1)
    ]
    fixed = _fixed_blocks(before, after_layers=False) + _fixed_blocks(after, after_layers=True)
    return replace(network, layers=tuple(layers), fixed=tuple(fixed))


def _fixed_blocks(convolutions: Sequence[_Convolution], *, after_layers: bool) -> list[FixedBlock]:
    """Group convolutions into blocks: [1x1 up], depthwise, 1x1 is an MBConv; others stand alone."""
    blocks: list[FixedBlock] = []
    at = 0
    while at < len(convolutions):
        window = list(convolutions[at : at + 3])
        expanding = len(window) == 3 and window[0].kernel == 1 and window[1].groups > 1
        depthwise = window[1:] if expanding else window[:2]
        if len(depthwise) == 2 and depthwise[0].groups > 1 and depthwise[1].kernel == 1:
            spatial, projection = depthwise
            narrow = window[0].inputs if expanding else spatial.inputs
            label = f"k{spatial.kernel}e{spatial.outputs / narrow:g}"
            last, used = projection, len(depthwise) + expanding
        else:
            spatial = last = window[0]
            label, used = f"conv{spatial.kernel}x{spatial.kernel}", 1
        blocks.append(
            FixedBlock(label, spatial.stride, spatial.dilation, last.outputs, after_layers)
        )
        at += used
    return blocks
