"""Trade strides for dilation, so that a backbone's last features are larger."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from .base import Keeps, Pass, Report
from .errors import FnacError, UnsupportedGraphError
from .graph import Graph
from .tensor_strides import STRIDED, tensor_strides


class StrideError(FnacError):
    """The output stride asked for cannot be."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class SetOutputStride(Pass):
    """Let no tensor of the backbone be smaller than 1/``stride`` of the image.

    Matches  Conv that would leave features of a larger stride, outside of heads.
    Changes  strides become 1 where the limit is reached; from there on every window is dilated by
             the strides that were given up, the convolution that gave one up included (as in the
             authors' code: the whole stage, its first block included). Padding becomes
             (k - 1) * d / 2 a side, also where it was asymmetric (TF's SAME at stride 2).
    Keeps    nothing: features behind are larger, and the weights see other neighbours.
    """

    name: ClassVar[str] = "set-output-stride"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    stride: int = 16

    def __post_init__(self) -> None:
        """Refuse a stride that is no power of two."""
        if self.stride < 1 or self.stride & (self.stride - 1):
            raise StrideError(f"output stride {self.stride}: a power of two is wanted (8, 16, 32)")

    def run(self, graph: Graph) -> Report:
        """Dilate in place. Raises UnsupportedGraphError naming what cannot be dilated."""
        report = Report()
        strides = tensor_strides(graph)
        changes = []
        for node in graph.nodes:
            if node.op not in STRIDED or node.metadata.get("fnac.part") == "head":
                continue
            after = strides.get(id(node.outputs[0]), 1.0)
            before = max(strides.get(id(t), 1.0) for t in node.inputs)
            if after > self.stride:
                why = _why_not(node)
                if why is not None:
                    raise UnsupportedGraphError(
                        f"{node.name} ({node.op}): {why}; its stride cannot become dilation; "
                        f"choose an output stride of {int(after)} or more"
                    )
                changes.append((node, min(before, self.stride), after / self.stride))
        for node, before, rate in changes:
            what = _dilate(node, int(self.stride / before), int(rate))
            if what:
                report.rewrote[node.name] = what
        if report.rewrote:
            graph.refresh_shapes()
        return report


def _why_not(node: gs.Node) -> str | None:
    if node.op != "Conv":
        return "it is a pooling"
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return f"its padding is {node.attrs['auto_pad']}, not explicit"
    window = _window(node)
    strides = node.attrs.get("strides") or [1] * len(window)
    dilations = node.attrs.get("dilations") or [1] * len(window)
    pads = node.attrs.get("pads") or [0] * 2 * len(window)
    if len(window) != 2 or any(k % 2 == 0 for k in window):
        return f"its kernel is {'x'.join(map(str, window))}, not 2-D and odd"
    for axis, (k, s, d) in enumerate(zip(window, strides, dilations, strict=True)):
        reach = (k - 1) * d
        total = pads[axis] + pads[axis + 2]
        if not reach - (s - 1) <= total <= reach:
            return f"its padding {list(pads)} does not keep the size of a {k}x{k} window"
    return None


def _dilate(node: gs.Node, stride: int, rate: int) -> str | None:
    """Give ``node`` this stride and ``rate`` times its dilation; say what changed."""
    window = _window(node)
    old_strides = [int(s) for s in node.attrs.get("strides") or [1, 1]]
    old_dilations = [int(d) for d in node.attrs.get("dilations") or [1, 1]]
    point = all(k == 1 for k in window)
    dilations = old_dilations if point else [d * rate for d in old_dilations]
    if old_strides == [stride, stride] and dilations == old_dilations:
        return None
    node.attrs["strides"] = [stride, stride]
    node.attrs["dilations"] = dilations
    half = [(k - 1) * d // 2 for k, d in zip(window, dilations, strict=True)]
    node.attrs["pads"] = half * 2
    changed = [f"stride {old_strides[0]} -> {stride}"] if old_strides != [stride, stride] else []
    if dilations != old_dilations:
        changed.append(f"dilation {old_dilations[0]} -> {dilations[0]}")
    return ", ".join(changed)


def _window(node: gs.Node) -> list[int]:
    return [int(d) for d in node.inputs[1].shape[2:]]
