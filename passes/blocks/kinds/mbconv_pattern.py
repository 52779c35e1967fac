"""The pattern of an MBConv (MobileNetV2's inverted residual), found from its depthwise conv."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ...graph import Graph
from ...graph.convolution import Conv, pair, why_padding_not_explicit
from ...graph.surgery import sole_reader
from ..units import ConvUnit, maker, pointwise, why_not_stored
from .mbconv import MBConvBlock
from .squeeze_excitation import match_squeeze_excitation


def match_mbconv(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> MBConvBlock | str | None:
    """Return the MBConv about the depthwise Conv ``node``.

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
        return why
    depthwise = units[id(node)]
    expand = _expansion(graph, units, node)
    gated = match_squeeze_excitation(graph, units, depthwise.output)
    hidden = depthwise.output if gated is None else gated.output
    reader = sole_reader(graph, hidden)
    if reader is None:
        return f"{_count(graph, hidden)} nodes read the depthwise output, not one"
    project = units.get(id(reader))
    if project is None or not pointwise(project) or reader.inputs[0] is not hidden:
        return f"behind it stands {reader.name} ({reader.op}), not a 1x1 convolution"
    if project.act:
        return "its 1x1 convolution is activated: separable, not an inverted residual"
    entry = node.inputs[0] if expand is None else expand.input
    if isinstance(entry, gs.Constant):
        return "it reads a stored tensor"
    in_channels = group if expand is None else expand.shape()[1]
    residual, start = None, None
    output = project.output
    if Conv(node).strides[0] == 1 and in_channels == project.shape()[0]:
        found = _residual(graph, output, entry)
        if found is None and expand is not None:
            start = _start(graph, units, expand)
            found = None if start is None else _residual(graph, output, start.input)
        if isinstance(found, str):
            return found
        if found is not None:
            residual, output = found, found.outputs[0]
    before: dict[str, ConvUnit] = {}
    if start is not None and residual is not None:
        before["start"], entry = start, start.input
    if expand is not None:
        before["expand"] = expand
    between = {} if gated is None else {"squeeze": gated.squeeze, "excite": gated.excite}
    units_of = {"depthwise": depthwise, **between, "project": project}
    inner = [*depthwise.nodes, *(() if gated is None else gated.nodes), *project.nodes]
    inner += [] if residual is None else [residual]
    whole = MBConvBlock(
        kind="mbconv",
        entry=entry,
        output=output,
        units={**before, **units_of},
        nodes=(*(one for unit in before.values() for one in unit.nodes), *inner),
        residual=residual,
        in_channels=in_channels,
        out_channels=project.shape()[0],
    )
    if expand is None or sole_reader(graph, expand.output) is node:
        return whole
    others = [n.name for n in graph.consumers(expand.output) if n is not node]
    if residual is not None:
        return (
            f"its expansion is also read by {', '.join(others) or 'the network output'}, and it "
            "has a residual"
        )
    return dataclasses.replace(
        whole,
        entry=expand.output,
        units=units_of,
        nodes=tuple(inner),
        in_channels=group,
        tapped=expand,
        untapped=whole,
    )


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


def _residual(graph: Graph, output: gs.Tensor, entry: gs.Tensor) -> gs.Node | str | None:
    adds = [
        n
        for n in graph.consumers(output)
        if n.op == "Add" and any(t is entry for t in n.inputs) and len(n.inputs) == 2
    ]
    if not adds:
        return None
    if sole_reader(graph, output) is not adds[0]:
        return f"its projection is read by others than the residual {adds[0].name}"
    return adds[0]


def _count(graph: Graph, tensor: gs.Tensor) -> int:
    return len(graph.consumers(tensor)) + int(graph.is_output(tensor))
