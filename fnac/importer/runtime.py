"""What an imported network calls when it runs and torch has no single function for.

Every function here is called from generated code, takes tensors and Python numbers, and is plain
enough for torch.compile.
"""

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
