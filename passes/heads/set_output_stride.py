"""Replace strides by dilation, so that a backbone's last features are larger."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..blocks.tensor_strides import tensor_strides
from ..errors import ArgumentError, UnsupportedGraphError
from ..graph import Graph
from ..graph.convolution import pair, why_padding_not_explicit
from ..graph.operators import WINDOWED
from ..graph.surgery import ints
from ..graph.surgery import window as window_of


@dataclasses.dataclass(frozen=True)
class SetOutputStride(Pass):
    """Keep every tensor of the backbone at least 1/``stride`` of the image's size.

    Matches  Conv and pooling that would produce features of a larger stride, outside heads.
    Changes  strides become 1 where the limit is reached; from there on every kernel is dilated by
             the removed strides, including the convolution that lost its stride (as in the
             authors' code: the whole stage, including its first block). Padding becomes
             (k - 1) * d / 2 a side, also where it was asymmetric (TF's SAME at stride 2).
             Pooling and even kernels (ConvNeXt's 2x2) keep their neighbours: they are dilated
             by the strides removed before them, and padded at the end.
    Keeps    nothing: later features are larger, and the weights see other neighbours.
    """

    name: ClassVar[str] = "set-output-stride"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    stride: int = 16

    def __post_init__(self) -> None:
        """Refuse a stride that is no power of two."""
        if self.stride < 1 or self.stride & (self.stride - 1):
            raise ArgumentError(f"output stride {self.stride}: wanted a power of two (8, 16, 32)")

    def run(self, graph: Graph) -> Report:
        """Dilate in place. Raises UnsupportedGraphError naming what cannot be dilated."""
        report = Report()
        strides = tensor_strides(graph)
        changes = []
        for node in graph.nodes:
            if node.op not in WINDOWED or node.metadata.get("fnac.part") == "head":
                continue
            after = strides.get(id(node.outputs[0]), 1.0)
            before = max(strides.get(id(t), 1.0) for t in node.inputs)
            steps = pair(node, "strides")
            if after > self.stride and len(set(steps)) > 1:
                raise UnsupportedGraphError(
                    f"{node.name} ({node.op}): its strides are {'x'.join(map(str, steps))}; "
                    "only square ones become dilation; take another backbone"
                )
            if after > self.stride:
                rates = int(max(before / self.stride, 1)), int(after / self.stride)
                why = _why_not_dilated(node, rates[0], graph.opset)
                if why is not None:
                    raise UnsupportedGraphError(
                        f"{node.name} ({node.op}): {why}; its stride cannot become dilation; "
                        f"choose an output stride of {int(after)} or more"
                    )
                changes.append((node, int(self.stride / min(before, self.stride)), rates))
        for node, stride, rates in changes:
            what = _dilate(node, stride, rates)
            if what:
                report.rewrote[node.name] = what
        if report.rewrote:
            graph.refresh_shapes()
        return report


def _why_not_dilated(node: gs.Node, rate: int, opset: int) -> str | None:
    """Say why ``node`` cannot be dilated; ``rate`` is the stride that was removed before it."""
    if node.op == "LpPool":
        return "it is an LpPool"
    if node.op == "AveragePool" and rate > 1 and opset < 19:
        return f"operator set {opset} has no dilated average pooling"
    why = why_padding_not_explicit(node)
    if why is not None:
        return why
    window = window_of(node)
    if window is None or len(window) != 2:
        return f"its kernel is {'x'.join(map(str, window or []))}, not 2-D"
    pads = ints(node, "pads", 0, 4)
    steps = zip(window, pair(node, "strides"), pair(node, "dilations"), strict=True)
    for axis, (k, s, d) in enumerate(steps):
        reach = (k - 1) * d
        total = pads[axis] + pads[axis + 2]
        if not reach - (s - 1) <= total <= reach:
            return f"its padding {pads} does not keep the size of a {k}x{k} window"
        begin = pads[axis] * rate
        if node.op != "Conv" and max(begin, reach * rate - begin) >= k:
            return f"onnxruntime pads no further than a window, which {rate}-fold dilation asks for"
    return None


def _dilate(node: gs.Node, stride: int, rates: tuple[int, int]) -> str | None:
    """Give ``node`` this stride and a larger dilation; say what changed.

    rates   what was given up before the node, and by it as well
    """
    window = window_of(node) or []
    old_strides, old_dilations = list(pair(node, "strides")), list(pair(node, "dilations"))
    centred = node.op == "Conv" and all(k % 2 for k in window)
    rate = rates[1] if centred else rates[0]
    point = all(k == 1 for k in window)
    dilations = old_dilations if point else [d * rate for d in old_dilations]
    if old_strides == [stride, stride] and dilations == old_dilations:
        return None
    reach = [(k - 1) * d for k, d in zip(window, dilations, strict=True)]
    begin = [r // 2 for r in reach]
    if not centred:
        begin = [p * rate for p in ints(node, "pads", 0, 4)[:2]]
    node.attrs["strides"] = [stride, stride]
    if node.op == "Conv" or dilations != old_dilations:
        node.attrs["dilations"] = dilations
    node.attrs["pads"] = [*begin, *(r - b for r, b in zip(reach, begin, strict=True))]
    node.attrs.pop("ceil_mode", None)
    changed = [f"stride {old_strides[0]} -> {stride}"] if old_strides != [stride, stride] else []
    if dilations != old_dilations:
        changed.append(f"dilation {old_dilations[0]} -> {dilations[0]}")
    return ", ".join(changed)
