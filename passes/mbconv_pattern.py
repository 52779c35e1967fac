"""The pattern of an MBConv (MobileNetV2's inverted residual), found from its depthwise conv."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from .graph import Graph
from .structure import Block
from .units import ConvUnit, sole_reader, why_not_stored


def match_mbconv(graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node) -> Block | str | None:
    """Return the MBConv about the depthwise Conv ``node``.

    1. its weight is (C, 1, k, k) in C groups, k odd, padding explicit, steps equal both ways
    2. before it may stand a 1x1 convolution with an activation, read by nobody else
    3. behind it stands a linear 1x1 convolution, read by nobody between
    4. an Add of 3's output and the entry, if there is one, is the residual

    Batch normalisations may follow each convolution or be folded. Returns why it is no MBConv, or
    None for a convolution that is not depthwise.
    """
    group = int(node.attrs.get("group", 1))
    if group == 1:
        return None
    why = why_not_stored(node) or _why_not_depthwise(node, group)
    if why is not None:
        return why
    depthwise = units[id(node)]
    expand = _expansion(graph, units, node)
    if isinstance(expand, str):
        return expand
    reader = sole_reader(graph, depthwise.output)
    if reader is None:
        return f"{_count(graph, depthwise.output)} nodes read the depthwise output, not one"
    project = units.get(id(reader))
    if project is None or not _pointwise(project) or reader.inputs[0] is not depthwise.output:
        return f"behind it stands {reader.name} ({reader.op}), not a 1x1 convolution"
    if project.act:
        return "its 1x1 convolution is activated: separable, not an inverted residual"
    entry = node.inputs[0] if expand is None else expand.input
    if isinstance(entry, gs.Constant):
        return "it reads a stored tensor"
    hidden, in_channels = group, group if expand is None else expand.shape()[1]
    stride = int(_pair(node, "strides")[0])
    residual = None
    output = project.output
    if stride == 1 and in_channels == project.shape()[0]:
        found = _residual(graph, output, entry)
        if isinstance(found, str):
            return found
        if found is not None:
            residual, output = found, found.outputs[0]
    return Block(
        kind="mbconv",
        entry=entry,
        output=output,
        expand=expand,
        depthwise=depthwise,
        project=project,
        residual=residual,
        kernel=int(depthwise.shape()[-1]),
        stride=stride,
        dilation=int(_pair(node, "dilations")[0]),
        in_channels=in_channels,
        hidden=hidden,
        out_channels=project.shape()[0],
    )


def _why_not_depthwise(node: gs.Node, group: int) -> str | None:
    channels, per_group, *window = (int(d) for d in node.inputs[1].shape)
    if channels != group or per_group != 1:
        return f"it is grouped ({group} groups of {channels} channels), not depthwise"
    if window[0] != window[1] or window[0] % 2 == 0:
        return f"its kernel is {'x'.join(map(str, window))}, not square and odd"
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return f"its padding is {node.attrs['auto_pad']}, not explicit"
    for what in ("strides", "dilations"):
        a, b = _pair(node, what)
        if a != b:
            return f"its {what} are {a}x{b}, not equal"
    return None


def _expansion(
    graph: Graph, units: Mapping[int, ConvUnit], depthwise: gs.Node
) -> ConvUnit | str | None:
    unit = _maker(graph, units, depthwise.inputs[0])
    if unit is None or not _pointwise(unit) or not unit.act:
        return None
    if sole_reader(graph, unit.output) is not depthwise:
        others = [n.name for n in graph.consumers(unit.output) if n is not depthwise]
        return f"its expansion is also read by {', '.join(others) or 'the network output'}"
    return unit


def _maker(graph: Graph, units: Mapping[int, ConvUnit], tensor: gs.Tensor) -> ConvUnit | None:
    """Return the unit whose last node leaves ``tensor``."""
    node = graph.producer(tensor)
    for _ in range(4):  # Mul, gate, BatchNormalization, Conv
        if node is None:
            return None
        if node.op == "Conv":
            unit = units.get(id(node))
            return unit if unit is not None and unit.output is tensor else None
        # of x * gate(x) the first input may be either; both lead to the same convolution
        node = graph.producer(node.inputs[0]) if node.inputs else None
    return None


def _pointwise(unit: ConvUnit) -> bool:
    conv = unit.conv
    return (
        unit.shape()[2:] == (1, 1)
        and conv.attrs.get("group", 1) == 1
        and max(_pair(conv, "strides")) == 1
        and not any(conv.attrs.get("pads", ()))
    )


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


def _pair(node: gs.Node, attribute: str) -> tuple[int, int]:
    values = node.attrs.get(attribute) or [1, 1]
    return int(values[0]), int(values[-1])


def _count(graph: Graph, tensor: gs.Tensor) -> int:
    return len(graph.consumers(tensor)) + int(graph.is_output(tensor))
