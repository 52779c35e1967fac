"""The pattern of an MBConv (MobileNetV2's inverted residual), found from its depthwise conv."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph import Graph
from ...graph.convolution import Conv, pair, why_padding_not_explicit
from ...graph.surgery import sole_reader
from ..units import ConvUnit, maker, pointwise, why_not_stored
from .mbconv import MBConvBlock
from .squeeze_excitation import SqueezeExcitation, match_squeeze_excitation


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The parts around a depthwise convolution; ``start`` only with its ``residual``."""

    expand: ConvUnit | None
    depthwise: ConvUnit
    gated: SqueezeExcitation | None
    project: ConvUnit
    start: ConvUnit | None = None
    residual: gs.Node | None = None

    @property
    def entry(self) -> gs.Tensor:
        """What the first convolution reads."""
        return (self.start or self.expand or self.depthwise).input

    @property
    def in_channels(self) -> int:
        """Channels of the entry."""
        return self.depthwise.shape()[0] if self.expand is None else self.expand.shape()[1]

    @property
    def before(self) -> dict[str, ConvUnit]:
        """The convolutions before the depthwise one, by role."""
        return _there({"start": self.start, "expand": self.expand})

    @property
    def behind(self) -> dict[str, ConvUnit]:
        """The depthwise convolution and those after it, by role."""
        gated = self.gated
        between = {} if gated is None else {"squeeze": gated.squeeze, "excite": gated.excite}
        return {"depthwise": self.depthwise, **between, "project": self.project}

    @property
    def nodes_behind(self) -> tuple[gs.Node, ...]:
        """The nodes from the depthwise convolution on."""
        gated = () if self.gated is None else self.gated.nodes
        residual = () if self.residual is None else (self.residual,)
        return (*self.depthwise.nodes, *gated, *self.project.nodes, *residual)


def match_mbconv(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> MBConvBlock | Left | None:
    """Return the MBConv around the depthwise Conv ``node``.

    1. its weight is (C, 1, k, k) in C groups, k odd, padding explicit, steps equal both ways
    2. before it may stand a 1x1 convolution with an activation; if others read it as well (a head
       that taps the expansion), the block begins behind it
    3. behind it stands a linear 1x1 convolution, read by nobody between; squeeze-excitation may
       stand in front of that one: a Mul with what a global pool, a 1x1 convolution with activation,
       another one and a gate make of the same tensor
    4. an Add of 3's output and the entry, if there is one, is the residual; a linear depthwise
       convolution between the entry and 2 belongs to the block then (MobileNetV4)

    Batch normalisations may follow each convolution or be folded. Returns why it is no MBConv, or
    None for a convolution that is not depthwise.
    """
    group = Conv(node).groups
    if group == 1:
        return None
    why = why_not_stored(node)
    if why is None and int(node.inputs[1].shape[1]) != 1:
        return None  # grouped, not depthwise
    why = why or _why_not_depthwise(node, group)
    if why is not None:
        return Left(why)
    parts = _parts(graph, units, units[id(node)])
    if isinstance(parts, _Parts):
        parts = _with_residual(graph, units, parts)
    if isinstance(parts, Left):
        return parts
    whole = _block(parts)
    if parts.expand is None or sole_reader(graph, parts.expand.output) is node:
        return whole
    return _tapped(graph, whole, parts, parts.expand)


def _parts(graph: Graph, units: Mapping[int, ConvUnit], depthwise: ConvUnit) -> _Parts | Left:
    """Return the parts before and after the depthwise convolution."""
    expand = _expansion(graph, units, depthwise.conv)
    gated = match_squeeze_excitation(graph, units, depthwise.output)
    hidden = depthwise.output if gated is None else gated.output
    reader = sole_reader(graph, hidden)
    if reader is None:
        return Left(f"{_count(graph, hidden)} nodes read the depthwise output, not one")
    project = units.get(id(reader))
    if project is None or not pointwise(project) or reader.inputs[0] is not hidden:
        return Left(f"it is followed by {reader.name} ({reader.op}), not by a 1x1 convolution")
    if project.act:
        return Left("its 1x1 convolution is activated: separable, not an inverted residual")
    parts = _Parts(expand, depthwise, gated, project)
    return Left("it reads a stored tensor") if isinstance(parts.entry, gs.Constant) else parts


def _with_residual(graph: Graph, units: Mapping[int, ConvUnit], parts: _Parts) -> _Parts | Left:
    """Return ``parts`` with the residual Add, if there is one, and what starts the block then."""
    keeps_size = Conv(parts.depthwise.conv).strides[0] == 1
    if not keeps_size or parts.in_channels != parts.project.shape()[0]:
        return parts
    start = None
    residual = _residual(graph, parts.project.output, parts.entry)
    if residual is None and parts.expand is not None:
        start = _start(graph, units, parts.expand)
        residual = None if start is None else _residual(graph, parts.project.output, start.input)
    if isinstance(residual, Left):
        return residual
    return parts if residual is None else dataclasses.replace(parts, residual=residual, start=start)


def _block(parts: _Parts) -> MBConvBlock:
    """Return the block of these parts, as if its expansion were its own."""
    output = parts.project.output if parts.residual is None else parts.residual.outputs[0]
    before = parts.before
    return MBConvBlock(
        kind="mbconv",
        entry=parts.entry,
        output=output,
        units={**before, **parts.behind},
        nodes=(*(one for unit in before.values() for one in unit.nodes), *parts.nodes_behind),
        residual=parts.residual,
        in_channels=parts.in_channels,
        out_channels=parts.project.shape()[0],
    )


def _tapped(
    graph: Graph, whole: MBConvBlock, parts: _Parts, expand: ConvUnit
) -> MBConvBlock | Left:
    """Return the block after an expansion that other nodes read as well."""
    if parts.residual is not None:
        node = parts.depthwise.conv
        others = [n.name for n in graph.consumers(expand.output) if n is not node]
        return Left(
            f"its expansion is also read by {', '.join(others) or 'the network output'}, and it "
            "has a residual"
        )
    return dataclasses.replace(
        whole,
        entry=expand.output,
        units=parts.behind,
        nodes=parts.nodes_behind,
        in_channels=parts.depthwise.shape()[0],
        tapped=expand,
        untapped=whole,
    )


def _there(units: Mapping[str, ConvUnit | None]) -> dict[str, ConvUnit]:
    return {role: unit for role, unit in units.items() if unit is not None}


def _why_not_depthwise(node: gs.Node, group: int) -> str | None:
    channels, _, *window = (int(d) for d in node.inputs[1].shape)
    if channels != group:
        return f"it is grouped ({group} groups of {channels} channels), not depthwise"
    if window[0] != window[1] or window[0] % 2 == 0:
        return f"its kernel is {'x'.join(map(str, window))}, not square and odd"
    why = why_padding_not_explicit(node)
    if why is not None:
        return why
    for what in ("strides", "dilations"):
        a, b = pair(node, what)
        if a != b:
            return f"its {what} are {a}x{b}, not equal"
    return None


def _expansion(graph: Graph, units: Mapping[int, ConvUnit], depthwise: gs.Node) -> ConvUnit | None:
    unit = maker(graph, units, depthwise.inputs[0])
    return unit if unit is not None and pointwise(unit) and unit.act else None


def _start(graph: Graph, units: Mapping[int, ConvUnit], expand: ConvUnit) -> ConvUnit | None:
    """Return a linear depthwise convolution that only the expansion reads, of its size."""
    unit = maker(graph, units, expand.input)
    if unit is None or unit.act or sole_reader(graph, unit.output) is not expand.conv:
        return None
    look = Conv(unit.conv)
    explicit = why_padding_not_explicit(unit.conv) is None
    still = max(look.strides) == 1 and explicit and look.keeps_size
    return unit if look.is_depthwise and still else None


def _residual(graph: Graph, output: gs.Tensor, entry: gs.Tensor) -> gs.Node | Left | None:
    adds = [
        n
        for n in graph.consumers(output)
        if n.op == "Add" and any(t is entry for t in n.inputs) and len(n.inputs) == 2
    ]
    if not adds:
        return None
    if sole_reader(graph, output) is not adds[0]:
        return Left(f"its projection is read by others than the residual {adds[0].name}")
    return adds[0]


def _count(graph: Graph, tensor: gs.Tensor) -> int:
    return len(graph.consumers(tensor)) + int(graph.is_output(tensor))
