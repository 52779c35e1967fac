"""MBConv whose expansion and depthwise convolution are one dense convolution (EfficientNetV2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph import Graph
from ...graph.convolution import Conv
from ...graph.surgery import sole_reader
from ..block import Form
from ..candidate_names import Spelled, channels_of, multiple_of, spell
from ..units import ConvUnit, pointwise, why_not_stored
from ..windows import why_window_fixed
from .residual import ROLES, ResidualBlock
from .squeeze_excitation import match_squeeze_excitation

KIND = "fused"


@dataclasses.dataclass(frozen=True)
class FusedBlock(ResidualBlock):
    """A k x k convolution that expands, [squeeze-excitation], a linear 1x1 one, [add].

    Searched are the window and the hidden width, named as an MBConv's: ``k3e4``.
    """

    def spell(self, form: Form, *, added: bool = False) -> str:
        """Return ``k3e4``."""
        width = self.out_channels if added else self.in_channels
        return spell(form.kernel, expansion=multiple_of(form.hidden, width))

    def form_of(self, spelled: Spelled, *, added: bool) -> Form | Left | None:
        """Read ``k5e6``, or ``k5`` with its own expansion."""
        if spelled.groups is not None or spelled.width is not None:
            return None
        width = self.out_channels if added else self.in_channels
        expansion = spelled.expansion
        if expansion is None:
            return Form(spelled.kernel, round(self.form.hidden / self.in_channels * width))
        hidden = channels_of(expansion, width)
        if hidden < 1:
            return Left(f"expansion {expansion:g} of {width} channels leaves none")
        return Form(spelled.kernel, hidden)

    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Read kernel and expansion off the first convolution."""
        heart = next((node for node in region if node.op == "Conv"), None)
        if heart is None:
            return None
        hidden, inputs, kernel, _ = heart.inputs[1].shape
        return spell(int(kernel), expansion=multiple_of(int(hidden), int(inputs))), heart


def match_fused(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> FusedBlock | Left | None:
    """Return the fused MBConv whose expanding convolution is ``node``.

    1. ``node`` is dense, has an odd, square window larger than 1x1 and an activation, and makes
       more channels than it reads and than 2 makes
    2. behind it stands a linear 1x1 convolution; squeeze-excitation may stand between the two
    3. an Add of the block's entry itself may follow

    Returns why it is no such block, or None for another convolution.
    """
    if why_not_stored(node) is not None or Conv(node).groups > 1:
        return None
    heart = units[id(node)]
    hidden, inputs, *window = heart.shape()
    if max(window) == 1 or not heart.act or isinstance(heart.input, gs.Constant):
        return None
    gated = match_squeeze_excitation(graph, units, heart.output)
    reader = sole_reader(graph, heart.output if gated is None else gated.output)
    behind = None if reader is None else units.get(id(reader))
    if behind is None or behind.act or not pointwise(behind):
        return None
    outputs = behind.shape()[0]
    if hidden <= max(inputs, outputs):
        return None
    why = why_window_fixed(node)
    if why is not None:
        return Left(why)
    by_role = dict(zip(ROLES[KIND], (heart, behind), strict=True))
    nodes = [*heart.nodes, *behind.nodes]
    if gated is not None:
        by_role |= {"squeeze": gated.squeeze, "excite": gated.excite}
        nodes += gated.nodes
    add = sole_reader(graph, behind.output)
    joined = add is not None and add.op == "Add" and any(t is heart.input for t in add.inputs)
    if joined:
        assert add is not None
        nodes.append(add)
    return FusedBlock(
        kind=KIND,
        entry=heart.input,
        output=nodes[-1].outputs[0] if joined else behind.output,
        units=by_role,
        nodes=tuple(nodes),
        residual=add if joined else None,
        in_channels=inputs,
        out_channels=outputs,
    )
