"""Shapes, and moving data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def to_list(values: Tensor) -> list[Any]:
    """Return a tensor's numbers; waits for the device."""
    return values.reshape(-1).tolist()


def host_tensor(items: Any, dtype: torch.dtype, like: Tensor) -> Tensor:
    """Return Python numbers as a tensor on the device of ``like``."""
    return torch.tensor(items, dtype=dtype, device=like.device)


def shape_tensor(x: Tensor, start: int, end: int | None) -> Tensor:
    """Return a shape, or a piece of it, as an int64 tensor (ONNX Shape)."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape where 0 copies the size at its place (ONNX Reshape, allowzero = 0)."""
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def flatten(x: Tensor, axis: int) -> Tensor:
    """Return a matrix: the sizes before ``axis`` times those from it on."""
    rows = math.prod(x.shape[:axis])
    return x.reshape(rows, math.prod(x.shape[axis:]))


def element_count(x: Tensor) -> Tensor:
    """Return how many elements, as an int64 scalar."""
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


def reverse_axes(x: Tensor) -> Tensor:
    """Return x with its axes in the opposite order."""
    return x.permute(*range(x.ndim - 1, -1, -1))


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Insert axes of size 1 at these places of the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def reshape_one(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Reshape one image to sizes without a batch axis; two images would be mixed.

    Raises ValueError for a batch, unless the first size takes it up (a shuffle of channels).
    """
    rest = math.prod(sizes[1:])
    if x.shape[0] != 1 and (-1 in sizes or rest <= 0 or sizes[0] * rest * x.shape[0] != x.numel()):
        raise ValueError(
            f"{x.shape[0]} images were given; the network reshapes one to {list(sizes)}, which "
            "mixes several; export it with a free batch"
        )
    return torch.reshape(x, [-1, *sizes[1:]] if x.shape[0] != 1 else list(sizes))


def concat(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenate; a stored tensor for one image is repeated for each image of a batch."""
    batch = max(t.shape[0] for t in tensors)
    same = [t.expand(batch, *t.shape[1:]) if t.shape[0] == 1 else t for t in tensors]
    return torch.cat(same, axis)


def split(x: Tensor, count: int, axis: int) -> tuple[Tensor, ...]:
    """Cut into ``count`` pieces of one size, the last one smaller if need be."""
    step = -(-x.shape[axis] // count)
    pieces: tuple[Tensor, ...] = x.split(step, axis)
    short = count - len(pieces)
    return pieces + tuple(x.narrow(axis, 0, 0) for _ in range(short))


def bounds(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's start and end, clamped to the axis, as a Python slice."""
    if step > 0:
        first = min(max(start + size if start < 0 else start, 0), size)
        last = min(max(end + size if end < 0 else end, 0), size)
        return slice(first, last, step)
    first = min(max(start + size if start < 0 else start, 0), size - 1)
    last = min(max(end + size if end < 0 else end, -1), size - 1)
    return slice(first, None if last < 0 else last, step)


def slice_(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> Tensor:
    """Slice along several axes, backwards as well."""
    axes = axes if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        size = x.shape[axis]
        cut = bounds(start, end, step, size)
        if step < 0:
            places = range(size)[cut]
            x = x.index_select(axis, torch.tensor(list(places), device=x.device).long())
        else:
            index[axis] = cut
    return x[tuple(index)]


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast x and the shape against each other."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Repeat along each axis."""
    return x.repeat(*repeats)


def pad(
    x: Tensor, pads: Sequence[int], mode: str, value: Any, axes: Sequence[int] | None
) -> Tensor:
    """Pad (or, by negative pads, cut) axes; ``pads`` are all begins, then all ends."""
    if isinstance(value, Tensor):
        value = value.item()
    axes = [a % x.ndim for a in axes] if axes is not None else list(range(len(pads) // 2))
    ends = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    if mode == "constant":
        flat = [p for a in range(x.ndim - 1, -1, -1) for p in ends.get(a, (0, 0))]
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        return F.pad(x, flat, value=value)
    for axis, (begin, end) in ends.items():
        if not begin and not end:
            continue
        n = x.shape[axis]
        where = torch.arange(-begin, n + end, device=x.device)
        if mode == "edge":
            where = where.clamp(0, n - 1)
        elif mode == "wrap":
            where = where % n
        else:
            period = max(2 * (n - 1), 1)
            where = where % period
            where = torch.where(where >= n, period - where, where)
        x = x.index_select(axis, where)
    return x


def depth_to_space(x: Tensor, block: int) -> Tensor:
    """Move channels into space, depth first (mode DCR)."""
    n, c, h, w = x.shape
    y = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // block**2, h * block, w * block)


def space_to_depth(x: Tensor, block: int, channel_first: bool) -> Tensor:
    """Move space into channels, which vary slower (CRD) or faster (DCR) than the places."""
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // block, block, w // block, block)
    y = y.permute(0, 1, 3, 5, 2, 4) if channel_first else y.permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * block**2, h // block, w // block)


def full(shape: Sequence[int], value: float, dtype: torch.dtype, like: Tensor) -> Tensor:
    """Return a tensor of one number on the device of ``like``."""
    return torch.full(list(shape), value, dtype=dtype, device=like.device)


def arange(start: Any, limit: Any, delta: Any, like: Tensor) -> Tensor:
    """Return the numbers from start to limit by delta on the device of ``like``."""
    return torch.arange(start, limit, delta, device=like.device)


def arange_of_tensors(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Return the numbers from start to limit by delta, in their type."""
    first, last, step = start.item(), limit.item(), delta.item()
    return torch.arange(first, last, step, dtype=start.dtype, device=start.device)


def eye_like(x: Tensor, k: int, dtype: torch.dtype | None) -> Tensor:
    """Return ones on the k-th diagonal of a matrix of x's shape."""
    ones = torch.ones(x.shape, dtype=torch.float32, device=x.device)
    diagonal = torch.triu(torch.tril(ones, k), k)
    return diagonal.to(dtype or x.dtype)
