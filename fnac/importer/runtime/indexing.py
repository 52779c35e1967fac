"""Gather and scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gather(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Take slices along an axis; negative indices count from the end."""
    axis = axis % x.ndim
    flat = indices.reshape(-1).long()
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    y = x.index_select(axis, flat)
    return y.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Take one element for each index along an axis."""
    where = indices.long()
    return x.gather(axis, torch.where(where < 0, where + x.shape[axis], where))


def _flat_index(indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return index tuples of the last axis as flat indices."""
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for i, size in enumerate(sizes):
        one = indices[..., i].long()
        flat = flat * size + torch.where(one < 0, one + size, one)
    return flat


def gather_nd(x: Tensor, indices: Tensor, batch: int) -> Tensor:
    """Take the elements at index tuples, below ``batch`` shared axes."""
    depth = indices.shape[-1]
    head = math.prod(x.shape[:batch])
    spread = x.shape[batch : batch + depth]
    flat = _flat_index(indices, spread).reshape(head, -1)
    rows = x.reshape(head, math.prod(spread), -1)
    y = rows.gather(1, flat.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
    return y.reshape(*indices.shape[:-1], *x.shape[batch + depth :])


_SCATTER = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int, kind: str) -> Tensor:
    """Put updates where the indices along an axis point."""
    where = indices.long()
    where = torch.where(where < 0, where + x.shape[axis], where)
    if kind == "none":
        return x.scatter(axis, where, updates)
    return x.scatter_reduce(axis, where, updates, _SCATTER[kind], include_self=True)


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, kind: str) -> Tensor:
    """Put updates where index tuples point."""
    depth = indices.shape[-1]
    spread = x.shape[:depth]
    flat = _flat_index(indices, spread).reshape(-1, 1)
    rows = x.reshape(math.prod(spread), -1)
    news = updates.reshape(flat.shape[0], -1)
    where = flat.expand(-1, rows.shape[-1])
    if kind == "none":
        return rows.scatter(0, where, news).reshape(x.shape)
    done = rows.scatter_reduce(0, where, news, _SCATTER[kind], include_self=True)
    return done.reshape(x.shape)


def one_hot(indices: Tensor, depth: int, values: Tensor, axis: int) -> Tensor:
    """Return ``values[1]`` where an index points to along a new axis, else ``values[0]``.

    Negative indices count from the end; those outside point to nothing.
    """
    axis = axis % (indices.ndim + 1)
    where = indices.long().unsqueeze(axis)
    where = torch.where(where < 0, where + depth, where)
    shape = [1] * where.ndim
    shape[axis] = depth
    places = torch.arange(depth, device=indices.device).reshape(shape)
    return torch.where(where == places, values[1], values[0])
