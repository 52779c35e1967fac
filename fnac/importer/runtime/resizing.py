"""ONNX Resize in full: every coordinate and rounding mode, as a matrix along each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Setting(NamedTuple):
    """The attributes of Resize."""

    mode: str
    where: str
    rounding: str
    cubic: float
    exclude_outside: bool
    antialias: bool
    outside: float
    policy: str


def resize(
    x: Tensor,
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    roi: Sequence[float] | None,
    axes: Sequence[int] | None,
    setting: Sequence[Any],
) -> Tensor:
    """Resize the axes (all by default) by scales or to sizes."""
    how = Setting(*setting)
    axes = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))
    factors = list(scales) if scales is not None else []
    if scales is None:
        assert sizes is not None
        factors = [n / x.shape[a] for n, a in zip(sizes, axes)]
        if how.policy != "stretch":
            pick = min if how.policy == "not_larger" else max
            factors = [pick(factors)] * len(factors)
            sizes = [math.floor(x.shape[a] * factors[0] + 0.5) for a in axes]
    integral = not x.dtype.is_floating_point
    y = x.float() if integral else x
    for i, axis in enumerate(axes):
        n = x.shape[axis]
        m = int(sizes[i]) if sizes is not None else math.floor(n * factors[i])
        if m == n and factors[i] == 1 and how.where != "tf_crop_and_resize":
            continue
        crop = (roi[i], roi[i + len(axes)]) if roi else (0.0, 1.0)
        weights, gone = _matrix(n, m, factors[i], crop, how)
        matrix = weights.to(device=y.device, dtype=y.dtype)
        y = (y.movedim(axis, -1) @ matrix.t()).movedim(-1, axis)
        if gone.any():
            shape = [-1 if a == axis else 1 for a in range(y.ndim)]
            mask = gone.to(y.device).reshape(shape)
            y = torch.where(mask, torch.full_like(y, how.outside), y)
    return y.round().to(x.dtype) if integral else y


def _source(m: int, n: int, scale: float, crop: tuple[float, float], where: str) -> Tensor:
    """Return the input position of each of m outputs, in pixels (float64)."""
    at = torch.arange(m, dtype=torch.float64)
    if where == "asymmetric":
        return at / scale
    if where == "align_corners":
        length = scale * n
        return at * (n - 1) / (length - 1) if length != 1 else torch.zeros_like(at)
    if where == "pytorch_half_pixel" and scale * n <= 1:
        return torch.zeros_like(at)
    if where == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    if where == "tf_crop_and_resize":
        start, end = crop
        length = scale * n
        if length > 1:
            return start * (n - 1) + at * (end - start) * (n - 1) / (length - 1)
        return torch.full_like(at, 0.5 * (start + end) * (n - 1))
    if where == "half_pixel_symmetric":
        adjust = m / (scale * n)
        centre = n / 2
        return centre * (1 - adjust) + (at + 0.5) / scale - 0.5
    return (at + 0.5) / scale - 0.5


def _matrix(
    n: int, m: int, scale: float, crop: tuple[float, float], how: Setting
) -> tuple[Tensor, Tensor]:
    """Return the (m, n) weights along an axis, and which outputs lie outside the image."""
    source = _source(m, n, scale, crop, how.where)
    gone = torch.zeros(m, dtype=torch.bool)
    if how.where == "tf_crop_and_resize":
        gone = (source < 0) | (source > n - 1)
    weights = torch.zeros(m, n, dtype=torch.float64)
    rows = torch.arange(m)
    if how.mode == "nearest":
        weights[rows, _nearest(source, how.rounding).clamp(0, n - 1)] = 1.0
        return weights, gone
    stretch = max(1.0, 1.0 / scale) if how.antialias else 1.0
    reach = math.ceil((2 if how.mode == "cubic" else 1) * stretch)
    first = torch.floor(source).long()
    taps = torch.arange(-reach + 1, reach + 1)
    where = first[:, None] + taps[None, :]
    distance = (where - source[:, None]) / stretch
    value = _cubic(distance, how.cubic) if how.mode == "cubic" else _triangle(distance)
    if how.exclude_outside:
        value = torch.where((where < 0) | (where >= n), torch.zeros_like(value), value)
    value = value / value.sum(1, keepdim=True)
    for k in range(where.shape[1]):
        weights[rows, where[:, k].clamp(0, n - 1)] += value[:, k]
    return weights, gone


def _nearest(source: Tensor, rounding: str) -> Tensor:
    if rounding == "floor":
        return torch.floor(source).long()
    if rounding == "ceil":
        return torch.ceil(source).long()
    if rounding == "round_prefer_ceil":
        return torch.floor(source + 0.5).long()
    return torch.ceil(source - 0.5).long()


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor, a: float) -> Tensor:
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
