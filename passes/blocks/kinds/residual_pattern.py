"""The patterns of ResNet's blocks, found from the convolution that is searched."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph import Graph
from ...graph.convolution import Conv
from ...graph.operators import ACTIVATIONS
from ...graph.surgery import sole_reader
from ..units import ConvUnit, maker, pointwise, unit_behind, why_not_stored
from ..windows import why_window_fixed
from .residual import ROLES, SHORTCUT, ResidualBlock
from .squeeze_excitation import SqueezeExcitation, match_squeeze_excitation

PLAIN = ("AveragePool", "MaxPool", "Slice", "Pad")  # what a shortcut may do without weights


def match_residual(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> ResidualBlock | Left | None:
    """Return the basic or bottleneck block whose searched convolution is ``node``.

    1. ``node`` has an odd, square window larger than 1x1 and an activation; it is not depthwise
    2. basic: behind it stands a linear k x k convolution of stride 1
    3. bottleneck: before it stands an activated 1x1 convolution, behind it a linear one
    4. an Add joins 2 or 3 with the block's entry itself (the sizes agree), with a linear 1x1
       convolution of the entry, or with a slice, pad or pool of it; those may stand before the
       convolution, too
    5. an activation behind the Add, if there is one, belongs to the block
    6. squeeze-excitation may stand behind ``node`` (RegNet) or behind 2 or 3 (SE-ResNet)

    The stride may lie on any convolution of the main path but the last. Batch normalisations may
    follow each convolution or be folded. Returns why it is no such block, or None for a 1x1 or
    depthwise convolution.
    """
    if why_not_stored(node) is not None:
        return None
    heart = units[id(node)]
    if max(Conv(node).window) == 1 or Conv(node).is_depthwise:
        return None
    gated = match_squeeze_excitation(graph, units, heart.output)
    behind = unit_behind(graph, units, heart.output if gated is None else gated.output)
    if not heart.act or behind is None or behind.act:
        return None
    before = maker(graph, units, node.inputs[0])
    kind = "basic"
    main = [heart, behind]
    if before is not None and pointwise(behind) and pointwise(before, strided=True):
        if not before.act or sole_reader(graph, before.output) is not node:
            return Left("the 1x1 convolution before it is read by others as well, or not activated")
        kind, main = "bottleneck", [before, heart, behind]
    elif max(behind.shape()[2:]) == 1:
        return None
    if gated is None:
        gated = match_squeeze_excitation(graph, units, behind.output)
    leaves = behind.output if gated is None or gated.reads is not behind.output else gated.output
    add = sole_reader(graph, leaves)
    if add is None or add.op != "Add" or len(add.inputs) != 2:
        return None
    why = why_window_fixed(node)
    if why is not None:
        return Left(why)
    if max(Conv(behind.conv).strides) > 1:
        return Left(f"the stride lies on its last convolution, {behind.conv.name}")
    return _joined(graph, units, kind, main, gated, leaves, add)


def _joined(
    graph: Graph,
    units: Mapping[int, ConvUnit],
    kind: str,
    main: list[ConvUnit],
    gated: SqueezeExcitation | None,
    leaves: gs.Tensor,
    add: gs.Node,
) -> ResidualBlock | Left:
    """Return the block of the main path, which outputs ``leaves``, and the shortcut of ``add``."""
    entry = main[0].input
    other = add.inputs[1] if add.inputs[0] is leaves else add.inputs[0]
    in_channels = Conv(main[0].conv).channels
    out_channels = main[-1].shape()[0]
    if isinstance(entry, gs.Constant):
        return Left("it reads a stored tensor")
    strides = {Conv(unit.conv).strides for unit in main} - {(1, 1)}
    if len(strides) > 1 or any(a != b for a, b in strides):
        return Left("its convolutions have strides of different sizes")
    by_role = dict(zip(ROLES[kind], main, strict=True))
    path: list[gs.Node] = []
    nodes = [node for unit in main for node in unit.nodes]
    if gated is not None:
        by_role |= {"squeeze": gated.squeeze, "excite": gated.excite}
        nodes += gated.nodes
    if other is entry:
        if strides or in_channels != out_channels:
            return Left("its shortcut is the identity, but input and output differ")
    else:
        projected = _shortcut(graph, units, other, entry)
        if projected is None:
            maker_of = graph.producer(other)
            what = other.name if maker_of is None else f"{maker_of.name} ({maker_of.op})"
            return Left(f"its shortcut comes from {what}, not from what it reads")
        unit, path = projected
        if unit is not None:
            by_role[SHORTCUT] = unit
        nodes += path
    output = add.outputs[0]
    nodes.append(add)
    act = sole_reader(graph, output)
    if act is not None and act.op in ACTIVATIONS and _stored(act):
        nodes.append(act)
        output = act.outputs[0]
    return ResidualBlock(
        kind=kind,
        entry=entry,
        output=output,
        units=by_role,
        nodes=tuple(nodes),
        residual=add,
        in_channels=in_channels,
        out_channels=out_channels,
        shortcut=tuple(path),
    )


def _shortcut(
    graph: Graph, units: Mapping[int, ConvUnit], tensor: gs.Tensor, entry: gs.Tensor
) -> tuple[ConvUnit | None, list[gs.Node]] | None:
    """Return the projection that computes ``tensor``, if any, and the nodes up to it."""
    path: list[gs.Node] = []
    unit = maker(graph, units, tensor)
    if unit is not None:
        if unit.act or not pointwise(unit, strided=True) or _read_twice(graph, tensor):
            return None
        path, tensor = list(unit.nodes), unit.input
    while tensor is not entry:
        node = graph.producer(tensor)
        if node is None or node.op not in PLAIN or not _stored(node) or _read_twice(graph, tensor):
            return None
        path.insert(0, node)
        tensor = node.inputs[0]
    return unit, path


def _read_twice(graph: Graph, tensor: gs.Tensor) -> bool:
    return len(graph.consumers(tensor)) != 1 or graph.is_output(tensor)


def _stored(node: gs.Node) -> bool:
    return all(isinstance(t, gs.Constant) or not t.name for t in node.inputs[1:])
