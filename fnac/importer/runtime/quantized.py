"""Quantized tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def _along(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Spread quantization parameters over x: one number, one per index of an axis, or per block."""
    if values.numel() == 1 and values.ndim <= 1:
        return values.reshape(())
    if values.ndim == 1:
        shape = [1] * x.ndim
        shape[axis] = -1
        return values.reshape(shape)
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return values


def dequantize(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, block: int) -> Tensor:
    """Return (x - zero) * scale in the type of the scale."""
    wide = x.to(torch.int32)
    if zero is not None:
        wide = wide - _along(zero, x, axis, block).to(torch.int32)
    return wide.to(scale.dtype) * _along(scale, x, axis, block)


def quantize(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    axis: int,
    dtype: torch.dtype,
    block: int = 0,
) -> Tensor:
    """Return x / scale + zero rounded to even and saturated."""
    kind = zero.dtype if zero is not None else dtype
    bounds = torch.iinfo(kind)
    y = torch.round(x / _along(scale, x, axis, block))
    if zero is not None:
        y = y + _along(zero, x, axis, block).to(y.dtype)
    return y.clamp(bounds.min, bounds.max).to(kind)
