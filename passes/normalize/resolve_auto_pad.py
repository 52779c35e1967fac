"""Write out the padding that ``auto_pad`` only names."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph, Shape
from ..graph.operators import WINDOWED
from ..graph.surgery import ints, window


@dataclasses.dataclass(frozen=True)
class ResolveAutoPad(Pass):
    """Replace ``auto_pad`` by explicit ``pads``.

    Matches  Conv and pooling with auto_pad SAME_UPPER, SAME_LOWER or VALID.
    Changes  ``pads`` holds the numbers, ``auto_pad`` is removed. At stride 1 they follow from the
             kernel; at larger strides they hold for the file's image size, and for every size
             with the same remainder, as TensorFlow's networks are trained.
    Keeps    interface and outputs. Left when the padding depends on a size the file leaves open.
    """

    name: ClassVar[str] = "resolve-auto-pad"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        matches = [n for n in graph.nodes if n.attrs.get("auto_pad", "NOTSET") != "NOTSET"]
        if not matches:
            return report
        shapes = graph.infer().shapes
        for node in matches:
            report.note(node.name, _resolve(node, shapes))
        return report


def _resolve(node: gs.Node, shapes: dict[str, Shape]) -> Rewrote | Left:
    mode = node.attrs["auto_pad"]
    if node.op not in WINDOWED:
        return Left(f"auto_pad of {node.op} is not supported")
    kernel = window(node)
    if kernel is None:
        return Left("the size of its kernel is not known")
    rank = len(kernel)
    strides, dilations = ints(node, "strides", 1, rank), ints(node, "dilations", 1, rank)
    shape = shapes.get(node.inputs[0].name) or ()
    sides: tuple[int | str | None, ...] = tuple(shape[2:]) if len(shape) == rank + 2 else ()
    begin, end = [0] * rank, [0] * rank
    if mode != "VALID":
        for axis in range(rank):
            side = sides[axis] if sides else None
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            if isinstance(side, int):
                total = same_padding(side, reach, strides[axis])
            elif strides[axis] == 1:
                total = reach - 1
            elif reach == 1:
                total = 0
            else:
                return Left(
                    f"its padding depends on the image size, and {mode} at stride "
                    f"{strides[axis]} needs that as a number; give the input a fixed size"
                )
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    del node.attrs["auto_pad"]
    node.attrs["pads"] = [*begin, *end]
    return Rewrote(f"{mode} -> {[*begin, *end]}")


def same_padding(side: int, reach: int, stride: int) -> int:
    """Return the total padding that makes ceil(side / stride) outputs of a kernel ``reach`` long.

    side, reach and stride in input positions; ONNX Conv, ``auto_pad``.
    """
    outputs = -(-side // stride)
    return max((outputs - 1) * stride + reach - side, 0)
