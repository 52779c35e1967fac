"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..runtime import elements, reductions

# operators whose gradient does not read their output, so that an activation may overwrite it
_OVERWRITABLE = frozenset({"Conv", "BatchNormalization", "ConvTranspose", "Add", "Gemm"})


def may_overwrite(builder: Builder, node: Node) -> bool:
    """Say whether an activation may work in place, as in the networks torch publishes."""
    tensor, value = node.tensors[0], node.inputs[0]
    producer = builder.facts.producers.get(tensor)
    return (
        producer is not None
        and producer.op_type in _OVERWRITABLE
        and builder.facts.reads[tensor] == 1
        and isinstance(value, fx.Node)
        and value.op != "placeholder"
    )


@converter("Relu", 1)
def relu(builder: Builder, node: Node) -> Any:
    """Relu -> nn.ReLU."""
    dtype = builder.dtype(node)
    if dtype is not None and not dtype.is_floating_point:
        return builder.call(torch.clamp, node.inputs[0], min=0)
    return _part(builder, node, nn.ReLU(inplace=may_overwrite(builder, node)))


@converter("Clip", 1)
def clip_by_attributes(builder: Builder, node: Node) -> Any:
    """Clip with its bounds as attributes (before version 11)."""
    return _clip(builder, node, node.get("min"), node.get("max"))


@converter("Clip", 11)
def clip(builder: Builder, node: Node) -> Any:
    """Clip with its bounds as inputs."""
    bounds: list[Any] = []
    for index in (1, 2):
        value = node.input(index)
        known = builder.static(value)
        if value is not None and known is None:
            return builder.call(elements.clip, node.inputs[0], node.input(1), node.input(2))
        bounds.append(None if known is None else known.reshape(-1)[0].item())
    return _clip(builder, node, *bounds)


def _clip(builder: Builder, node: Node, low: Any, high: Any) -> Any:
    """Return nn.ReLU6 for 0 and 6, nn.ReLU for 0 alone, nn.Hardtanh between floats, else clamp."""
    limit = 3.4e38
    low = None if low is None or low <= -limit else low
    high = None if high is None or high >= limit else high
    dtype = builder.dtype(node)
    floating = dtype is None or dtype.is_floating_point
    if low is None and high is None:
        return node.inputs[0]
    inplace = may_overwrite(builder, node)
    if floating and low == 0 and high == 6:
        return _part(builder, node, nn.ReLU6(inplace=inplace))
    if floating and low == 0 and high is None:
        return _part(builder, node, nn.ReLU(inplace=inplace))
    if floating and low is not None and high is not None and low < high:
        return _part(builder, node, nn.Hardtanh(low, high, inplace=inplace))
    return builder.call(torch.clamp, node.inputs[0], min=low, max=high)


@converter("LeakyRelu", 1)
def leaky_relu(builder: Builder, node: Node) -> Any:
    """LeakyRelu -> nn.LeakyReLU."""
    slope = node.get("alpha", 0.01)
    inplace = slope > 0 and may_overwrite(builder, node)  # else the gradient needs the input
    return _part(builder, node, nn.LeakyReLU(slope, inplace=inplace))


@converter("PRelu", 1, 7)
def prelu(builder: Builder, node: Node) -> Any:
    """PRelu -> nn.PReLU for one slope a channel, else x and slope * x."""
    x, slope = node.inputs[:2]
    assert x is not None
    own, rank = builder.trainable(slope), builder.rank(node)
    per_channel = node.version < 7 or rank == 2 or (own is not None and own.tensor.numel() == 1)
    if own is not None and own.tensor.ndim == 1 and per_channel:
        part = nn.PReLU(own.tensor.numel(), device="meta")
        return builder.module(node, part, [x], {"weight": own})
    if node.version < 7 and rank is not None and rank > 2:
        slope = builder.call(elements.append_axes, slope, rank - 2)
    return builder.call(elements.prelu, x, slope)


@converter("Elu", 1)
def elu(builder: Builder, node: Node) -> Any:
    """Elu -> nn.ELU."""
    return _part(builder, node, nn.ELU(node.get("alpha", 1.0)))


@converter("Selu", 1)
def selu(builder: Builder, node: Node) -> Any:
    """Selu, with torch's constants when they are the default ones."""
    if "alpha" not in node.attributes and "gamma" not in node.attributes:
        return _part(builder, node, nn.SELU())
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    return builder.call(torch.mul, builder.call(F.elu, node.inputs[0], alpha), gamma)


@converter("Celu", 12)
def celu(builder: Builder, node: Node) -> Any:
    """Celu -> nn.CELU."""
    return _part(builder, node, nn.CELU(node.get("alpha", 1.0)))


@converter("HardSigmoid", 1)
def hard_sigmoid(builder: Builder, node: Node) -> Any:
    """HardSigmoid -> nn.Hardsigmoid for torch's slope of 1/6."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return _part(builder, node, nn.Hardsigmoid())
    return builder.call(elements.hard_sigmoid, node.inputs[0], alpha, beta)


@converter("ThresholdedRelu", 1, 10)
def thresholded_relu(builder: Builder, node: Node) -> Any:
    """ThresholdedRelu: x above alpha, else 0."""
    return builder.call(F.threshold, node.inputs[0], node.get("alpha", 1.0), 0.0)


@converter("Softplus", 1)
def softplus(builder: Builder, node: Node) -> Any:
    """Softplus = log(1 + exp(x))."""
    return builder.call(elements.softplus, node.inputs[0])


@converter("Shrink", 9)
def shrink(builder: Builder, node: Node) -> Any:
    """Shrink towards zero by bias outside [-lambd, lambd], zero inside."""
    return builder.call(
        elements.shrink, node.inputs[0], node.get("lambd", 0.5), node.get("bias", 0.0)
    )


@converter("Gelu", 20)
def gelu(builder: Builder, node: Node) -> Any:
    """Gelu -> nn.GELU."""
    return _part(builder, node, nn.GELU(node.get("approximate", "none")))


@converter("Swish", 24)
def swish(builder: Builder, node: Node) -> Any:
    """Swish = x * sigmoid(alpha * x) -> nn.SiLU when alpha is 1."""
    alpha = node.get("alpha", 1.0)
    if alpha == 1.0:
        return _part(builder, node, nn.SiLU())
    return builder.call(elements.swish, node.inputs[0], alpha)


@converter("Softmax", 1)
def softmax_as_matrix(builder: Builder, node: Node) -> Any:
    """Softmax before version 13: over all the axes from ``axis`` on."""
    return _as_matrix(builder, node, F.softmax, "softmax")


@converter("LogSoftmax", 1)
def log_softmax_as_matrix(builder: Builder, node: Node) -> Any:
    """LogSoftmax before version 13: over all the axes from ``axis`` on."""
    return _as_matrix(builder, node, F.log_softmax, "log_softmax")


@converter("Hardmax", 1)
def hardmax_as_matrix(builder: Builder, node: Node) -> Any:
    """Hardmax before version 13: over all the axes from ``axis`` on."""
    return _as_matrix(builder, node, reductions.hardmax, "hardmax")


def _as_matrix(builder: Builder, node: Node, function: Callable[..., Any], name: str) -> Any:
    axis, rank = node.get("axis", 1), builder.rank(node)
    if rank is not None and axis % rank == rank - 1:
        return builder.call(function, node.inputs[0], dim=-1)
    return builder.call(reductions.over_trailing, node.inputs[0], name, axis)


@converter("Softmax", 13)
def softmax(builder: Builder, node: Node) -> Any:
    """Softmax along one axis."""
    return builder.call(F.softmax, node.inputs[0], dim=node.get("axis", -1))


@converter("LogSoftmax", 13)
def log_softmax(builder: Builder, node: Node) -> Any:
    """LogSoftmax along one axis."""
    return builder.call(F.log_softmax, node.inputs[0], dim=node.get("axis", -1))


@converter("Hardmax", 13)
def hardmax(builder: Builder, node: Node) -> Any:
    """Hardmax: one at the first largest value along an axis."""
    return builder.call(reductions.hardmax, node.inputs[0], dim=node.get("axis", -1))


def _part(builder: Builder, node: Node, part: nn.Module) -> Any:
    x = node.inputs[0]
    assert x is not None
    return builder.module(node, part, [x])


def _plain(op: str, since: int, make: Callable[[], nn.Module]) -> None:
    @converter(op, since)
    def convert(builder: Builder, node: Node) -> Any:
        return _part(builder, node, make())


for _op, _since, _make in [
    ("Sigmoid", 1, nn.Sigmoid),
    ("Tanh", 1, nn.Tanh),
    ("HardSwish", 14, nn.Hardswish),
    ("Mish", 18, nn.Mish),
    ("Softsign", 1, nn.Softsign),
]:
    _plain(_op, _since, _make)
