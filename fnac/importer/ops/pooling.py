"""Pooling."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..building.windows import window
from ..runtime import elements, windowed

_MAX: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_GLOBAL_AVERAGE: dict[int, Any] = {
    3: nn.AdaptiveAvgPool1d,
    4: nn.AdaptiveAvgPool2d,
    5: nn.AdaptiveAvgPool3d,
}


@converter("MaxPool", 1)
def max_pool(builder: Builder, node: Node) -> Any:
    """MaxPool -> nn.MaxPool1d/2d/3d; padding torch refuses becomes an explicit pad of -inf."""
    x = node.inputs[0]
    assert x is not None
    view = window(node, tuple(node.get("kernel_shape")))
    rank, ceil = len(view.kernel), bool(node.get("ceil_mode", 0))
    padding = view.symmetric
    small = padding is not None and all(2 * p <= k for p, k in zip(padding, view.kernel))
    dtype = builder.dtype(node)
    floating = dtype is None or dtype.is_floating_point
    if node.wants(1) or not floating or not small:
        whole = builder.call(
            windowed.max_pool,
            x,
            view.kernel,
            view.stride,
            view.dilation,
            (view.begin, view.end) if view.begin is not None else None,
            view.upper,
            ceil,
            bool(node.get("storage_order", 0)),
            node.wants(1),
        )
        if not node.wants(1):
            return whole
        return tuple(builder.call(elements.pick, whole, i) for i in range(2))
    part = _MAX[rank](view.kernel, view.stride, padding, view.dilation, ceil_mode=ceil)
    return builder.module(node, part, [x])


@converter("AveragePool", 1)
def average_pool(builder: Builder, node: Node) -> Any:
    """AveragePool -> nn.AvgPool1d/2d/3d; other paddings and dilation are computed by weights."""
    x = node.inputs[0]
    assert x is not None
    view = window(node, tuple(node.get("kernel_shape")))
    rank, ceil = len(view.kernel), bool(node.get("ceil_mode", 0))
    counted = bool(node.get("count_include_pad", 0))
    padding = view.symmetric
    small = padding is not None and all(2 * p <= k for p, k in zip(padding, view.kernel))
    plain = small and all(d == 1 for d in view.dilation)
    if not plain:
        return builder.call(
            windowed.average_pool,
            x,
            view.kernel,
            view.stride,
            view.dilation,
            (view.begin, view.end) if view.begin is not None else None,
            view.upper,
            ceil,
            counted,
        )
    part = _AVERAGE[rank](view.kernel, view.stride, padding, ceil, counted)
    return builder.module(node, part, [x])


@converter("LpPool", 1, 2, 11, 18)
def lp_pool(builder: Builder, node: Node) -> Any:
    """LpPool: the p-norm over each window."""
    view = window(node, tuple(node.get("kernel_shape")))
    return builder.call(
        windowed.lp_pool,
        node.inputs[0],
        float(node.get("p", 2)),
        view.kernel,
        view.stride,
        view.dilation,
        (view.begin, view.end) if view.begin is not None else None,
        view.upper,
        bool(node.get("ceil_mode", 0)),
    )


@converter("GlobalAveragePool", 1)
def global_average_pool(builder: Builder, node: Node) -> Any:
    """GlobalAveragePool -> nn.AdaptiveAvgPool1d/2d/3d(1)."""
    x, rank = node.inputs[0], builder.rank(node)
    assert x is not None
    if rank in _GLOBAL_AVERAGE:
        return builder.module(node, _GLOBAL_AVERAGE[rank](1), [x])
    return builder.call(windowed.global_mean, x)


@converter("GlobalMaxPool", 1)
def global_max_pool(builder: Builder, node: Node) -> Any:
    """GlobalMaxPool over all spatial axes."""
    return builder.call(windowed.global_max, node.inputs[0])


@converter("GlobalLpPool", 1, 2)
def global_lp_pool(builder: Builder, node: Node) -> Any:
    """GlobalLpPool: the p-norm over all spatial axes."""
    return builder.call(windowed.global_lp, node.inputs[0], float(node.get("p", 2)))
