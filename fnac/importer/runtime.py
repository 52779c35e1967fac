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


def product(a: int, b: int) -> int:
    """Return a size times a factor."""
    return a * b


def cut_off(x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    """Cut so much off both sides of each spatial axis."""
    for axis, (b, e) in enumerate(zip(begin, end), start=2):
        x = x.narrow(axis, b, x.shape[axis] - b - e)
    return x


def cut_to(x: Tensor, sizes: Sequence[int], upper: bool) -> Tensor:
    """Cut, or pad with zeros, to these spatial sizes (ConvTranspose's output_shape, SAME).

    What is cut is total = size - wanted; SAME_UPPER puts the larger half at the end, ONNX's
    other modes at the beginning.
    """
    for axis, wanted in enumerate(sizes, start=2):
        total = x.shape[axis] - wanted
        begin = total // 2 if upper else total - total // 2
        if total >= 0:
            x = x.narrow(axis, begin, wanted)
        else:
            pads = [0, 0] * (x.ndim - 1 - axis) + [0, -total]
            x = F.pad(x, pads)
    return x


def pick(values: Sequence[Any], index: int) -> Any:
    """Return one of several results."""
    return values[index]


def batch_norm_update(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float,
    momentum: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize by the batch; return y and the updated statistics (ONNX training_mode = 1).

    ONNX updates with the population variance, and weighs the old value with ``momentum``.
    """
    axes = [0, *range(2, x.ndim)]
    now_mean, now_var = x.mean(axes), x.var(axes, unbiased=False)
    y = F.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    return (
        y,
        mean * momentum + now_mean * (1 - momentum),
        var * momentum + now_var * (1 - momentum),
    )


def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return LayerNormalization's y, mean and inverse standard deviation."""
    axes = list(range(axis % x.ndim, x.ndim))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = wide.mean(axes, keepdim=True)
    centred = wide - mean
    inverse = (centred.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    y = (centred * inverse).to(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


def group_norm(x: Tensor, groups: int, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalize by groups with one scale and bias for each group."""
    repeat = x.shape[1] // groups
    return F.group_norm(
        x, groups, scale.repeat_interleave(repeat), bias.repeat_interleave(repeat), epsilon
    )


def rms_norm(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> Tensor:
    """Divide by the root of the mean square over the axes from ``axis`` on."""
    axes = list(range(axis % x.ndim, x.ndim))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    inverse = (wide.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    return (wide * inverse).to(x.dtype) * scale


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """Divide by (bias + alpha / size * sum of squares over ``size`` channels) ** beta."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    square = F.pad(x.square().unsqueeze(1), [0, 0] * (x.ndim - 2) + [before, after])
    total = sum(square[:, :, i : i + x.shape[1]] for i in range(size))
    return x / (bias + alpha / size * total.squeeze(1)) ** beta


def lp_normalize(x: Tensor, p: int, axis: int) -> Tensor:
    """Divide by the p-norm along an axis; zero where the norm is zero."""
    norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


def mean_variance_normalize(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Return (x - mean) / (standard deviation + 1e-9) over the axes."""
    centred = x - x.mean(axes, keepdim=True)
    deviation = centred.square().mean(axes, keepdim=True).sqrt()
    return centred / (deviation + 1e-9)


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


def hardmax(x: Tensor, dim: int) -> Tensor:
    """Return one at the first largest value along an axis, zero elsewhere."""
    index = first_extreme(x, dim, largest=True).unsqueeze(dim)
    return torch.zeros_like(x).scatter_(dim, index, 1)


def first_extreme(x: Tensor, dim: int, *, largest: bool) -> Tensor:
    """Return the first index of the largest or smallest value (torch promises no order)."""
    best = x.amax(dim, keepdim=True) if largest else x.amin(dim, keepdim=True)
    return (x == best).to(torch.uint8).argmax(dim)


def over_trailing(x: Tensor, name: str, axis: int) -> Tensor:
    """Apply softmax, log_softmax or hardmax to all the axes from ``axis`` on, taken as one."""
    flat = x.reshape(*x.shape[: axis % x.ndim], -1)
    if name == "hardmax":
        return hardmax(flat, -1).reshape(x.shape)
    result = F.softmax(flat, -1) if name == "softmax" else F.log_softmax(flat, -1)
    return result.reshape(x.shape)


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
    """Say where a value is infinite, of the signs asked for."""
    found = torch.zeros_like(x, dtype=torch.bool)
    if negative:
        found = found | (x == -math.inf)
    return found | (x == math.inf) if positive else found


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


def identity(x: Tensor, *_: Any) -> Tensor:
    """Return x (a Dropout whose ratio only its caller knows drops nothing)."""
    return x


def ones_like(x: Tensor) -> Tensor:
    """Return the mask of a Dropout that drops nothing."""
    return torch.ones_like(x, dtype=torch.bool)


def eye_like(x: Tensor, k: int, dtype: torch.dtype | None) -> Tensor:
    """Return ones on the k-th diagonal of a matrix of x's shape."""
    ones = torch.ones(x.shape, dtype=torch.float32, device=x.device)
    diagonal = torch.triu(torch.tril(ones, k), k)
    return diagonal.to(dtype or x.dtype)


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
    x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, dtype: torch.dtype
) -> Tensor:
    """Return x / scale + zero rounded to even and saturated."""
    kind = zero.dtype if zero is not None else dtype
    bounds = torch.iinfo(kind)
    y = torch.round(x / _along(scale, x, axis, 0))
    if zero is not None:
        y = y + _along(zero, x, axis, 0).to(y.dtype)
    return y.clamp(bounds.min, bounds.max).to(kind)


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
    first = first_extreme(y, -1, largest=True).unsqueeze(-1)
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
    return torch.linalg.vector_norm(y, p, dim=-1)


def global_mean(x: Tensor) -> Tensor:
    """Return the mean over all spatial axes, which stay with size 1."""
    return x.mean(list(range(2, x.ndim)), keepdim=True) if x.ndim > 2 else x


def global_max(x: Tensor) -> Tensor:
    """Return the maximum over all spatial axes, which stay with size 1."""
    return x.amax(list(range(2, x.ndim)), keepdim=True) if x.ndim > 2 else x


def global_lp(x: Tensor, p: float) -> Tensor:
    """Return the p-norm over all spatial axes, which stay with size 1."""
    return torch.linalg.vector_norm(x, p, dim=list(range(2, x.ndim)), keepdim=True)


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


def split(x: Tensor, count: int, axis: int) -> tuple[Tensor, ...]:
    """Cut into ``count`` pieces of one size, the last one smaller if need be."""
    step = -(-x.shape[axis] // count)
    pieces = x.split(step, axis)
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
            wanted = range(size)[cut]
            x = x.index_select(axis, torch.tensor(list(wanted), device=x.device).long())
        else:
            index[axis] = cut
    return x[tuple(index)]


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
    """Take what index tuples point at, below ``batch`` shared axes."""
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


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast x and the shape against each other."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Repeat along each axis."""
    return x.repeat(*repeats)


def pad(x: Tensor, pads: Sequence[int], mode: str, value: Any, axes: Sequence[int] | None) -> Tensor:
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
    """Return the maximum; -inf or the type's least value of nothing."""
    if x.numel() == 0:
        low = -math.inf if x.dtype.is_floating_point else _least(x.dtype)
        return _of_nothing(x, axes, keep, low)
    return x.amax(_all(x, axes), keepdim=keep)


def reduce_min(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Return the minimum; inf or the type's largest value of nothing."""
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
