"""Widen depthwise kernels: the kernel level of the expansion (FNA++ Sec. 3.1.3)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..blocks.units import why_not_stored
from ..blocks.windows import set_kernel, why_window_fixed
from ..errors import ArgumentError
from ..graph import Graph
from ..graph.convolution import Conv


@dataclasses.dataclass(frozen=True)
class WidenKernel(Pass):
    """Widen depthwise convolutions to ``kernel`` x ``kernel`` around their present weights.

    Matches  Conv whose group equals its output channels, with a smaller, odd, square kernel.
    Changes  the weight (zeros around the old centre), ``kernel_shape``, ``pads`` by the margin.
    Keeps    interface and outputs: the new taps are zero.
    """

    name: ClassVar[str] = "widen-kernel"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    kernel: int = 5

    def __post_init__(self) -> None:
        """Refuse a kernel that has no centre."""
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ArgumentError(f"widen-kernel: kernel={self.kernel}; wanted an odd size")

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """Widen ``node`` if it is depthwise."""
        look = Conv(node)
        if node.op != "Conv" or look.groups == 1:
            return None
        why = why_not_stored(node)
        if why is None and not look.is_depthwise:
            why = f"it is grouped ({look.groups} groups), not depthwise"
        why = why or why_window_fixed(node)
        if why is not None:
            return Left(why)
        k = int(node.inputs[1].shape[-1])
        if k >= self.kernel:
            return None
        set_kernel(graph, node, self.kernel, report.initializers)
        return Rewrote(f"{k} -> {self.kernel}")
