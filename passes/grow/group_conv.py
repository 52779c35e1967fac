"""Trade density for reach: dense convolutions become grouped ones with larger kernels (Eq. 4)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..blocks.units import constant, why_not_stored
from ..blocks.windows import set_kernel, why_window_fixed
from ..errors import ArgumentError
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.surgery import set_input
from ..remap.rules import remap_groups


@dataclasses.dataclass(frozen=True)
class GroupConv(Pass):
    """Give dense convolutions ``groups`` groups and a ``kernel`` x ``kernel`` window.

    Matches  Conv of one group with an odd, square kernel larger than 1x1.
    Changes  each output channel keeps the weights for inputs of its own group (Eq. 4); the
             kernel grows or shrinks about its centre (Eq. 5, 6), ``pads`` by the margin.
    Keeps    interface. Not the outputs: connections between groups are lost.
    """

    name: ClassVar[str] = "group-conv"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    kernel: int = 5
    groups: int = 2

    def __post_init__(self) -> None:
        """Refuse what no convolution can be."""
        if self.kernel < 1 or self.kernel % 2 == 0 or self.groups < 1:
            raise ArgumentError(
                f"group-conv: kernel={self.kernel}, groups={self.groups}; "
                "wanted an odd kernel and at least one group"
            )

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """Regroup ``node`` if it is dense."""
        if node.op != "Conv" or Conv(node).groups != 1:
            return None
        why = why_not_stored(node)
        if why is not None:
            return Left(why)
        weight = constant(node.inputs[1])
        r, q, *window = (int(d) for d in weight.shape)
        if window == [1, 1] or (window == [self.kernel] * 2 and self.groups == 1):
            return None
        why = why_window_fixed(node, self.kernel)
        if why is None and (r % self.groups or q % self.groups):
            why = f"{self.groups} groups do not divide {q} input and {r} output channels"
        if why is not None:
            return Left(why)
        cropped = gs.Constant(
            graph.new_name(f"{weight.name}.g{self.groups}"),
            remap_groups(weight.values, self.groups),
        )
        report.initializers[cropped.name] = f"cropped from {weight.name}"
        set_input(node, 1, cropped)
        node.attrs["group"] = self.groups
        if window[0] != self.kernel:
            set_kernel(graph, node, self.kernel, report.initializers)
            del report.initializers[cropped.name]
        return Rewrote(f"k{window[0]}g1 -> k{self.kernel}g{self.groups}")
