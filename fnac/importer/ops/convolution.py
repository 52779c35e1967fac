"""Conv and ConvTranspose."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from fnac.passes.errors import UnsupportedGraphError

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Constant, Node, Value
from ..building.windows import window
from ..runtime import elements, windowed

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_FUNCTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_TRANSPOSED_FUNCTION = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def spatial_kernel(builder: Builder, node: Node) -> tuple[int, ...]:
    """Return the kernel's size from the attribute or from the weight's shape."""
    given = node.get("kernel_shape")
    if given:
        return tuple(given)
    weight = builder.static(node.input(1))
    sizes = weight.shape if weight is not None else builder.facts.shape(node.tensors[1])
    if sizes is None or any(s is None for s in sizes):
        raise UnsupportedGraphError(
            f"{node.label}: neither kernel_shape nor the weight's shape is known; "
            "export the network with kernel_shape"
        )
    return tuple(int(s) for s in sizes[2:] if s is not None)


def bias_of(node: Node, index: int) -> Value | None:
    """Return the bias; None for zeros that the exporter computed (it is no weight)."""
    bias = node.input(index)
    computed = isinstance(bias, Constant) and not bias.stored and not bias.trainable
    if computed and isinstance(bias, Constant) and not bias.tensor.any():
        return None
    return bias


@converter("Conv", 1)
def convolution(builder: Builder, node: Node) -> Any:
    """Conv -> nn.Conv1d/2d/3d; asymmetric and SAME padding becomes an explicit pad."""
    view = window(node, spatial_kernel(builder, node))
    x, weight, bias = node.inputs[0], node.inputs[1], bias_of(node, 2)
    assert x is not None
    rank, groups = len(view.kernel), node.get("group", 1)
    padding: tuple[int, ...] = (0,) * rank
    if view.symmetric is not None:
        padding = view.symmetric
    else:
        x = view.pad(builder, x)
    own_weight, own_bias = builder.trainable(weight), builder.trainable(bias)
    if own_weight is None or (bias is not None and own_bias is None):
        return builder.call(
            _CONV_FUNCTION[rank], x, weight, bias, view.stride, padding, view.dilation, groups
        )
    out_channels, per_group = own_weight.tensor.shape[:2]
    part = _CONV[rank](
        per_group * groups,
        out_channels,
        view.kernel,
        view.stride,
        padding,
        view.dilation,
        groups,
        own_bias is not None,
        device="meta",
    )
    owns = {"weight": own_weight} | ({"bias": own_bias} if own_bias is not None else {})
    return builder.module(node, part, [x], owns)


@converter("ConvTranspose", 1)
def transposed_convolution(builder: Builder, node: Node) -> Any:
    """ConvTranspose -> nn.ConvTranspose1d/2d/3d.

    Padding that differs between the sides is cut off the unpadded output.
    """
    kernel = spatial_kernel(builder, node)
    rank, groups = len(kernel), node.get("group", 1)
    if not 1 <= rank <= 3:
        raise UnsupportedGraphError(
            f"{node.label}: a kernel over {rank} axes; kernels over 1 to 3 axes are supported"
        )
    stride = tuple(node.get("strides") or [1] * rank)
    dilation = tuple(node.get("dilations") or [1] * rank)
    extra = tuple(node.get("output_padding") or [0] * rank)
    pads = tuple(node.get("pads") or [0] * (2 * rank))
    x, weight, bias = node.inputs[0], node.inputs[1], bias_of(node, 2)
    assert x is not None
    auto, output = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    cut: tuple[Any, ...] | None = None
    padding, margin = (0,) * rank, extra
    if output or auto.startswith("SAME"):
        cut = (windowed.cut_to, tuple(output[-rank:]) if output else None, auto == "SAME_UPPER")
    elif pads[:rank] == pads[rank:] and auto != "VALID":
        padding = pads[:rank]
    elif auto != "VALID":
        cut = (windowed.cut_off, pads[:rank], pads[rank:])
    own_weight, own_bias = builder.trainable(weight), builder.trainable(bias)
    simple = all(e < max(s, d) for e, s, d in zip(margin, stride, dilation))
    if own_weight is None or (bias is not None and own_bias is None) or not simple:
        y = builder.call(
            _TRANSPOSED_FUNCTION[rank], x, weight, bias, stride, padding, margin, groups, dilation
        )
    else:
        in_channels, per_group = own_weight.tensor.shape[:2]
        part = _TRANSPOSED[rank](
            in_channels,
            per_group * groups,
            kernel,
            stride,
            padding,
            margin,
            groups,
            own_bias is not None,
            dilation,
            device="meta",
        )
        owns = {"weight": own_weight} | ({"bias": own_bias} if own_bias is not None else {})
        y = builder.module(node, part, [x], owns)
    if cut is None:
        return y
    function, *arguments = cut
    if function is windowed.cut_to:
        shape, upper = arguments
        sizes = shape or [_times(builder, builder.size(x, 2 + i), s) for i, s in enumerate(stride)]
        return builder.call(windowed.cut_to, y, sizes, upper)
    return builder.call(function, y, *arguments)


def _times(builder: Builder, size: Any, factor: int) -> Any:
    return builder.call(elements.product, size, factor)
