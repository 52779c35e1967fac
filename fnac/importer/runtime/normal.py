"""Normalizations that torch does not have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm


class BatchNorm(_BatchNorm):
    """Normalizes by channel at any rank, for a file that does not state it."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"{input.ndim} dimensions were found; wanted (N, C, ...)")


class _OfOnePixel(_InstanceNorm):
    """Answers with its bias where a map has one pixel, as ONNX says; torch refuses such a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel of each image."""
        if x.shape[2:].numel() == 1:
            return _bias_alone(x, self.bias)
        return super().forward(x)


class InstanceNorm1d(_OfOnePixel, nn.InstanceNorm1d):
    """Of (N, C, L)."""


class InstanceNorm2d(_OfOnePixel, nn.InstanceNorm2d):
    """Of (N, C, H, W)."""


class InstanceNorm3d(_OfOnePixel, nn.InstanceNorm3d):
    """Of (N, C, D, H, W)."""


def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalize each channel of each image, at any rank."""
    if x.shape[2:].numel() == 1:
        return _bias_alone(x, bias)
    return F.instance_norm(x, weight=scale, bias=bias, use_input_stats=True, eps=epsilon)


def _bias_alone(x: Tensor, bias: Tensor) -> Tensor:
    return torch.zeros_like(x) + bias.reshape(1, -1, *[1] * (x.ndim - 2))


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


def batch_norm_by(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float
) -> Tensor:
    """Normalize by computed statistics, with gradients through them.

    A weight that is standardized in the graph (NFNet) has such; torch's own takes stored ones only.
    """
    shape = [1, -1, *[1] * (x.ndim - 2)]
    factor = scale * torch.rsqrt(var + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


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
    total = torch.stack([square[:, 0, i : i + x.shape[1]] for i in range(size)]).sum(0)
    return x / (bias + alpha / size * total) ** beta


def lp_normalize(x: Tensor, p: int, axis: int) -> Tensor:
    """Divide by the p-norm along an axis; zero where the norm is zero."""
    norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


def mean_variance_normalize(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Return (x - mean) / (standard deviation + 1e-9) over the axes."""
    over = list(axes)
    centred = x - x.mean(over, keepdim=True)
    deviation = centred.square().mean(over, keepdim=True).sqrt()
    return centred / (deviation + 1e-9)
