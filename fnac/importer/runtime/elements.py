"""Element-wise arithmetic and activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def product(a: int, b: int) -> int:
    """Return a size times a factor."""
    return a * b


def append_axes(x: Tensor, count: int) -> Tensor:
    """Append axes of size 1."""
    return x.reshape(*x.shape, *([1] * count))


def divide(a: Any, b: Any) -> Tensor:
    """Divide; integers towards zero."""
    result: Tensor = torch.true_divide(a, b)
    kinds = [v.dtype for v in (a, b) if isinstance(v, Tensor)]
    if all(k.is_floating_point for k in kinds):
        return result
    whole: Tensor = torch.div(a, b, rounding_mode="trunc")
    return whole


def divide_numbers(a: int, b: int) -> int:
    """Divide sizes, which are not negative."""
    return a // b


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """Return base ** exponent in the type of the base."""
    if base.dtype.is_floating_point == exponent.dtype.is_floating_point:
        return torch.pow(base, exponent).to(base.dtype)
    if base.dtype.is_floating_point:
        return torch.pow(base, exponent.to(base.dtype))
    return torch.pow(base.double(), exponent.double()).to(base.dtype)


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """Return one of two numbers."""
    return yes if condition else no


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast as ONNX does."""
    return x.to(dtype)


def cast_like(x: Tensor, other: Tensor) -> Tensor:
    """Cast to the type of another tensor."""
    return x.to(other.dtype)


def floor_number(x: float) -> float:
    """Return the floor of a Python number, as a float."""
    return float(math.floor(x))


def ceil_number(x: float) -> float:
    """Return the ceiling of a Python number, as a float."""
    return float(math.ceil(x))


def is_infinite(x: Tensor, negative: bool, positive: bool) -> Tensor:
    """Say where a value is infinite, with the requested signs."""
    infinite = torch.zeros_like(x, dtype=torch.bool)
    if negative:
        infinite = infinite | (x == -math.inf)
    return infinite | (x == math.inf) if positive else infinite


def clip(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Clamp between bounds that are tensors; the upper bound wins."""
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return x where it is positive, slope * x elsewhere; slope broadcasts from the right."""
    return torch.where(x < 0, slope * x, x)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """Return max(0, min(1, alpha * x + beta))."""
    return torch.clamp(x * alpha + beta, 0, 1)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) without torch's linear shortcut."""
    return torch.logaddexp(x, torch.zeros_like(x))


def shrink(x: Tensor, threshold: float, bias: float) -> Tensor:
    """Move values outside [-threshold, threshold] towards zero by ``bias``; zero inside."""
    moved = torch.where(x < -threshold, x + bias, x - bias)
    return torch.where(x.abs() > threshold, moved, torch.zeros_like(x)).to(x.dtype)


def swish(x: Tensor, alpha: float) -> Tensor:
    """Return x * sigmoid(alpha * x)."""
    return x * torch.sigmoid(alpha * x)


def identity(x: Tensor, *_: Any) -> Tensor:
    """Return x (a Dropout whose ratio is not known at import drops nothing)."""
    return x


def ones_like(x: Tensor) -> Tensor:
    """Return the mask of a Dropout that drops nothing."""
    return torch.ones_like(x, dtype=torch.bool)


def pick(values: Sequence[Any], index: int) -> Any:
    """Return one of several results."""
    return values[index]


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    alpha: float,
    beta: float,
    trans_a: bool,
    trans_b: bool,
) -> Tensor:
    """Return alpha * a @ b + beta * c."""
    product_ = (a.t() if trans_a else a) @ (b.t() if trans_b else b)
    result = product_ if alpha == 1 else (product_ * alpha).to(a.dtype)
    if c is None:
        return result
    return result + (c if beta == 1 else (c * beta).to(c.dtype))
