"""Kernel windows of convolutions: padding for another kernel, and why a window is fixed."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import Conv, why_padding_not_explicit
from ..graph.surgery import set_input
from ..remap.rules import remap_kernel
from .block import Block
from .units import constant


def widened_pads(node: gs.Node, kernel: int) -> list[int]:
    """Return the pads of a convolution for another kernel with the same centres.

    Each side grows (or shrinks) by the dilated margin, so asymmetric pads stay asymmetric.

    Raises ValueError when a pad would become negative.
    """
    k = int(node.inputs[1].shape[-1])
    margin = [(kernel - k) // 2 * d for d in Conv(node).dilations] * 2
    old = Conv(node).pads
    pads = [p + m for p, m in zip(old, margin, strict=True)]
    if min(pads) < 0:
        raise ValueError(f"its padding {old} cannot shrink by {-min(margin)}")
    return pads


def why_window_fixed(node: gs.Node, kernel: int | None = None) -> str | None:
    """Say why the window of a convolution cannot change about its centre; None if it can.

    kernel  the size wanted; None: any larger one
    """
    weight = node.inputs[1]
    window = Conv(node).window
    if len(window) != 2 or window[0] != window[1] or window[0] % 2 == 0:
        return f"its kernel is {'x'.join(map(str, window))}, not square and odd"
    why = why_padding_not_explicit(node)
    if why is not None:
        return why
    others = [reader.name for reader in weight.outputs if reader is not node]
    if others:
        return f"its weight is shared with {others[0]}"
    if kernel is not None:
        try:
            widened_pads(node, kernel)
        except ValueError as error:
            return str(error)
    return None


def set_kernel(graph: Graph, node: gs.Node, kernel: int, initializers: dict[str, str]) -> None:
    """Crop or zero-pad the kernel of a convolution about its centre, in place."""
    old = constant(node.inputs[1])
    group = Conv(node).groups
    remapped = gs.Constant(
        graph.new_name(f"{old.name}.k{kernel}"), remap_kernel(old.values, kernel)
    )
    what = "padded" if kernel > int(old.shape[-1]) else "cropped"
    set_window(node, kernel, group)
    set_input(node, 1, remapped)
    initializers[remapped.name] = f"{what} from {old.name}"


def why_not_kernel(block: Block, kernel: int) -> str | None:
    """Say why a block cannot have this kernel; None if it can."""
    try:
        widened_pads(block.units[block.heart].conv, kernel)
    except ValueError as error:
        return str(error)
    return None


def set_pointwise(conv: gs.Node) -> None:
    """Turn ``conv`` into a dense 1x1 convolution of stride 1 without padding."""
    ones = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1]}
    conv.attrs.update({**ones, "pads": [0, 0, 0, 0], "group": 1})


def set_window(conv: gs.Node, kernel: int, groups: int, like: gs.Node | None = None) -> None:
    """Give ``conv`` another kernel with the same centres, and groups.

    like  whose window and pads are the old ones; None: those of ``conv`` itself
    """
    conv.attrs["pads"] = widened_pads(like or conv, kernel)
    if groups != 1 or "group" in conv.attrs:
        conv.attrs["group"] = groups
    if "kernel_shape" in conv.attrs or int((like or conv).inputs[1].shape[-1]) != kernel:
        conv.attrs["kernel_shape"] = [kernel, kernel]


def set_stride(conv: gs.Node, stride: int, kernel: int) -> None:
    """Give ``conv`` another stride; at stride 1 the padding keeps the size."""
    conv.attrs["strides"] = [stride, stride]
    if stride == 1:
        conv.attrs["pads"] = [(kernel - 1) // 2 * Conv(conv).dilations[0]] * 4
