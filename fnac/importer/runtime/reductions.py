"""Reductions, extremes, sorting, running sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Axes = Sequence[int] | None


def _all(x: Tensor, axes: Axes) -> list[int]:
    """Return the axes of a reduction; none given means all."""
    return list(range(x.ndim)) if not axes else list(axes)


def reduce_sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the sum in the type of x."""
    return x.sum(_all(x, axes), keepdim=keep, dtype=x.dtype) if x.ndim else x


def reduce_mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the mean; of integers, truncated."""
    if x.ndim == 0:
        return x
    if x.dtype.is_floating_point:
        return x.mean(_all(x, axes), keepdim=keep)
    return x.double().mean(_all(x, axes), keepdim=keep).to(x.dtype)


def reduce_max(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the maximum; of no elements -inf or the type's smallest value."""
    if x.numel() == 0:
        low = -math.inf if x.dtype.is_floating_point else _least(x.dtype)
        return _of_nothing(x, axes, keep, low)
    return x.amax(_all(x, axes), keepdim=keep)


def reduce_min(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the minimum; of no elements inf or the type's largest value."""
    if x.numel() == 0:
        high = math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).max
        return _of_nothing(x, axes, keep, high)
    return x.amin(_all(x, axes), keepdim=keep)


def _least(dtype: torch.dtype) -> float:
    return 0 if dtype == torch.bool else torch.iinfo(dtype).min


def _of_nothing(x: Tensor, axes: Axes, keep: bool, value: float) -> Tensor:
    gone = {a % x.ndim for a in _all(x, axes)}
    shape = [1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone]
    return torch.full(shape, value, dtype=x.dtype, device=x.device)


def reduce_prod(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the product."""
    for axis in sorted((a % x.ndim for a in _all(x, axes)), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def reduce_l1(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the sum of magnitudes."""
    return reduce_sum(x.abs(), axes, keep)


def reduce_l2(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the root of the sum of squares."""
    wide = x if x.dtype.is_floating_point else x.double()
    return reduce_sum(wide.square(), axes, keep).sqrt().to(x.dtype)


def reduce_sum_square(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the sum of squares."""
    return reduce_sum(x.square(), axes, keep)


def reduce_log_sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the logarithm of the sum."""
    return reduce_sum(x, axes, keep).log()


def reduce_log_sum_exp(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the logarithm of the sum of exponentials."""
    wide = x if x.dtype.is_floating_point else x.double()
    return torch.logsumexp(wide, _all(x, axes), keepdim=keep).to(x.dtype)


def reduce_or_nothing(x: Tensor, name: str, axes: Axes, keep: bool) -> Tensor:
    """Return a reduction; over no axes its element-wise part alone (noop_with_empty_axes)."""
    function: Any = globals()[name]
    y: Tensor = function(x, axes, keep) if axes else function(x.unsqueeze(-1), [-1], False)
    return y


def first_extreme(x: Tensor, dim: int, *, largest: bool) -> Tensor:
    """Return the first index of the largest or smallest value (torch promises no order)."""
    best = x.amax(dim, keepdim=True) if largest else x.amin(dim, keepdim=True)
    return (x == best).to(torch.uint8).argmax(dim)


def extreme(x: Tensor, axis: int, keep: bool, largest: bool, last: bool) -> Tensor:
    """Return the index of the largest or smallest value along an axis, first or last of equals."""
    if last:
        index = x.shape[axis] - 1 - first_extreme(x.flip(axis), axis, largest=largest)
    else:
        index = first_extreme(x, axis, largest=largest)
    return index.unsqueeze(axis) if keep else index


def top_k(x: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the k largest or smallest values, sorted, and their indices; equals in order."""
    if x.dtype == torch.float16 and not x.is_cuda:
        values, index = top_k(x.float(), k, axis, largest)
        return values.to(x.dtype), index
    values, index = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), index.narrow(axis, 0, k)


def cumulative_sum(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """Return running sums, without the value itself if exclusive, from the end if reverse."""
    x = x.flip(axis) if reverse else x
    y = x.cumsum(axis).to(x.dtype)
    y = y - x if exclusive else y
    return y.flip(axis) if reverse else y


def hardmax(x: Tensor, dim: int) -> Tensor:
    """Return one at the first largest value along an axis, zero elsewhere."""
    index = first_extreme(x, dim, largest=True).unsqueeze(dim)
    return torch.zeros_like(x).scatter_(dim, index, 1)


def over_trailing(x: Tensor, name: str, axis: int) -> Tensor:
    """Apply softmax, log_softmax or hardmax to all the axes from ``axis`` on, taken as one."""
    flat = x.reshape(*x.shape[: axis % x.ndim], -1)
    if name == "hardmax":
        return hardmax(flat, -1).reshape(x.shape)
    result = F.softmax(flat, -1) if name == "softmax" else F.log_softmax(flat, -1)
    return result.reshape(x.shape)
