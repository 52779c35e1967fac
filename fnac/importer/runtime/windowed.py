"""Padding and pooling over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reductions


def same_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    upper: bool,
) -> list[int]:
    """Return the padding of auto_pad SAME_UPPER or SAME_LOWER, in the order of F.pad."""
    pads: list[int] = []
    for size, k, s, d in reversed(list(zip(sizes, kernel, stride, dilation))):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small = total // 2
        pads += [small, total - small] if upper else [total - small, small]
    return pads


def pad_same(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    upper: bool,
    value: float = 0.0,
) -> Tensor:
    """Pad ``x`` so that a window over it gives ceil(size / stride) outputs."""
    pads = same_pads(x.shape[2:], kernel, stride, dilation, upper)
    return F.pad(x, pads, value=value) if any(pads) else x


def cut_off(x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    """Cut this much off both sides of each spatial axis."""
    for axis, (b, e) in enumerate(zip(begin, end), start=2):
        x = x.narrow(axis, b, x.shape[axis] - b - e)
    return x


def cut_to(x: Tensor, sizes: Sequence[int], upper: bool) -> Tensor:
    """Cut, or pad with zeros, to these spatial sizes (ConvTranspose's output_shape, SAME).

    What is cut is total = size - wanted; SAME_UPPER puts the larger half at the end, ONNX's
    other modes at the beginning.
    """
    for axis, size in enumerate(sizes, start=2):
        total = x.shape[axis] - size
        begin = total // 2 if upper else total - total // 2
        if total >= 0:
            x = x.narrow(axis, begin, size)
        else:
            pads = [0, 0] * (x.ndim - 1 - axis) + [0, -total]
            x = F.pad(x, pads)
    return x


Pads = tuple[Sequence[int], Sequence[int]]


def _window_pads(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Pads | None,
    upper: bool,
    ceil: bool,
) -> tuple[list[int], list[int]]:
    """Return F.pad's padding, as given and with what ceil_mode adds at the end.

    The last window of ceil_mode must start inside the image or its leading padding.
    """
    sizes = x.shape[2:]
    if pads is None:
        given = same_pads(sizes, kernel, stride, dilation, upper)
    else:
        given = [p for pair in reversed(list(zip(*pads))) for p in pair]
    total = list(given)
    if ceil:
        for i, (size, k, s, d) in enumerate(zip(sizes, kernel, stride, dilation)):
            at = 2 * (len(sizes) - 1 - i)
            begin, end = given[at], given[at + 1]
            span = (k - 1) * d + 1
            count = -(-(size + begin + end - span) // s) + 1
            if (count - 1) * s >= size + begin:
                count -= 1
            total[at + 1] = max(end, (count - 1) * s + span - size - begin)
    return given, total


def _windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Return a view of x with each spatial axis cut into windows: (N, C, *out, *kernel)."""
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation), start=2):
        x = x.unfold(axis, (k - 1) * d + 1, s)[..., ::d] if d > 1 else x.unfold(axis, k, s)
    return x


def max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Pads | None,
    upper: bool,
    ceil: bool,
    column_major: bool,
    with_indices: bool,
) -> Any:
    """Return the largest value of each window, and its flat index in x if asked for."""
    low = -math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).min
    _, total = _window_pads(x, kernel, stride, dilation, pads, upper, ceil)
    n = len(kernel)
    y = _windows(F.pad(x, total, value=low), kernel, stride, dilation).flatten(-n)
    best = y.amax(-1)
    if not with_indices:
        return best
    sizes = x.shape[2:]
    weights = [math.prod(sizes[i + 1 :]) for i in range(n)]
    if column_major and n > 1:
        weights = [math.prod(sizes[:i]) for i in range(n)]
    where = torch.zeros(sizes, dtype=torch.int64, device=x.device)
    for i, size in enumerate(sizes):
        steps = torch.arange(size, device=x.device) * weights[i]
        where = where + steps.reshape([-1 if j == i else 1 for j in range(n)])
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(x.shape[:2])
    where = where + (planes * math.prod(sizes)).reshape(*x.shape[:2], *([1] * n))
    cut = _windows(F.pad(where, total, value=-1), kernel, stride, dilation).flatten(-n)
    first = reductions.first_extreme(y, -1, largest=True).unsqueeze(-1)
    return best, cut.gather(-1, first).squeeze(-1)


def average_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Pads | None,
    upper: bool,
    ceil: bool,
    counted: bool,
) -> Tensor:
    """Return the mean of each window, of its values alone or with the padding counted.

    What ceil_mode adds beyond the padding is never counted.
    """
    given, total = _window_pads(x, kernel, stride, dilation, pads, upper, ceil)
    n = len(kernel)
    values = _windows(F.pad(x, total), kernel, stride, dilation).flatten(-n).sum(-1)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    ones = F.pad(ones, given, value=1.0 if counted else 0.0)
    rest = [t - g for t, g in zip(total, given)]
    count = _windows(F.pad(ones, rest), kernel, stride, dilation).flatten(-n).sum(-1)
    return values / count


def lp_pool(
    x: Tensor,
    p: float,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Pads | None,
    upper: bool,
    ceil: bool,
) -> Tensor:
    """Return the p-norm of each window."""
    _, total = _window_pads(x, kernel, stride, dilation, pads, upper, ceil)
    n = len(kernel)
    y = _windows(F.pad(x, total), kernel, stride, dilation).flatten(-n)
    norm: Tensor = torch.linalg.vector_norm(y, p, dim=-1)
    return norm


def global_mean(x: Tensor) -> Tensor:
    """Return the mean over all spatial axes, which stay with size 1."""
    return x.mean(list(range(2, x.ndim)), keepdim=True) if x.ndim > 2 else x


def global_max(x: Tensor) -> Tensor:
    """Return the maximum over all spatial axes, which stay with size 1."""
    return x.amax(list(range(2, x.ndim)), keepdim=True) if x.ndim > 2 else x


def global_lp(x: Tensor, p: float) -> Tensor:
    """Return the p-norm over all spatial axes, which stay with size 1."""
    norm: Tensor = torch.linalg.vector_norm(x, p, dim=list(range(2, x.ndim)), keepdim=True)
    return norm
