"""Merge a Pad node into the convolution or pooling after it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.operators import PADS_BY_WINDOW
from ..graph.surgery import argument, ints, set_input, stored, window


@dataclasses.dataclass(frozen=True)
class MergePad(Pass):
    """Move the padding of a Pad into the convolution or pooling after it.

    Matches  Conv, MaxPool, AveragePool whose input is a Pad of the image's sides by a constant:
             0 before Conv, and before AveragePool that counts its padding; for MaxPool -inf, or
             0 after an activation that is never negative.
    Changes  ``pads`` of the reader grows; the Pad is removed when nothing else reads it.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "merge-pad"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op not in PADS_BY_WINDOW:
            return None
        pad = graph.producer(node.inputs[0])
        if pad is None or pad.op != "Pad":
            return None
        if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return Left(f"its own padding is {node.attrs['auto_pad']}, not explicit")
        if node.attrs.get("ceil_mode", 0):
            return Left("it rounds its output size up (ceil_mode)")
        kernel = window(node)
        if kernel is None:
            return Left("the size of its kernel is not known")
        sides = _sides(pad, len(kernel))
        if isinstance(sides, Left):
            return sides
        why_not = _why_not_merged(pad, node, graph)
        if why_not is not None:
            return Left(why_not)
        own = ints(node, "pads", 0, 2 * len(kernel))
        total = [a + b for a, b in zip(own, sides, strict=True)]
        if node.op != "Conv" and any(p >= k for p, k in zip(total, kernel * 2, strict=True)):
            return Left("the padding is as wide as its window")
        node.attrs.pop("auto_pad", None)
        node.attrs["pads"] = total
        set_input(node, 0, pad.inputs[0])
        self.visit(node, graph, report)  # a second Pad in front of the first
        return Rewrote(f"pads {total}")


def _sides(pad: gs.Node, rank: int) -> list[int] | Left:
    """Return the padding of the image's sides, begins then ends."""
    if pad.attrs.get("mode", "constant") != "constant":
        return Left(f"the Pad before it is of mode {pad.attrs['mode']}")
    values = pad.attrs.get("pads")
    if values is None:
        values = stored(argument(pad, 1))
    if values is None:
        return Left("the Pad before it computes its widths")
    widths = [int(v) for v in values]
    axes_tensor = argument(pad, 3)
    axes = list(range(len(widths) // 2))
    if axes_tensor is not None:
        named = stored(axes_tensor)
        if named is None:
            return Left("the Pad before it computes its axes")
        axes = [int(a) % (rank + 2) for a in named]
    full = [0] * (2 * (rank + 2))
    for place, axis in enumerate(axes):
        full[axis] = widths[place]
        full[axis + rank + 2] = widths[place + len(axes)]
    if any(full[:2]) or any(full[rank + 2 : rank + 4]):
        return Left("the Pad before it pads the batch or the channels")
    if min(full) < 0:
        return Left("the Pad before it crops")
    return [*full[2 : rank + 2], *full[rank + 4 :]]


def _why_not_merged(pad: gs.Node, node: gs.Node, graph: Graph) -> str | None:
    """Say why the Pad's value is not what ``node`` pads with; None if it is."""
    tensor = argument(pad, 2)
    stored_value = np.float32(pad.attrs.get("value", 0.0)) if tensor is None else stored(tensor)
    if stored_value is None:
        return "the Pad before it computes its value"
    value = float(stored_value.reshape(()))
    if node.op == "MaxPool":
        if value == -np.inf or (value == 0 and _never_negative(graph.producer(pad.inputs[0]))):
            return None
        return f"it takes the maximum, and the Pad before it pads with {value:g}"
    if value != 0:
        return f"the Pad before it pads with {value:g}, not 0"
    if node.op == "AveragePool" and not node.attrs.get("count_include_pad", 0):
        return "its mean leaves out its own padding, but not the Pad's"
    return None


def _never_negative(node: gs.Node | None) -> bool:
    if node is None:
        return False
    if node.op == "Clip":
        low = stored(argument(node, 1))
        return low is not None and float(low.reshape(())) >= 0
    return node.op in ("Relu", "Sigmoid", "HardSigmoid", "Softmax")
