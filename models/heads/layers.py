"""Convolutions with BN and activation, named as the heads name their layers."""

from __future__ import annotations

from torch import nn


def named(layers: list[tuple[str, nn.Module]]) -> nn.Sequential:
    """Return a sequence of layers under these names."""
    result = nn.Sequential()
    for name, layer in layers:
        result.add_module(name, layer)
    return result


def conv_bn(
    name: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> list[tuple[str, nn.Module]]:
    """Return a convolution without bias, its BN and, if there is one, the activation.

    They are called ``name``, ``name_bn`` and ``name_act``. The padding keeps the size.
    """
    padding = (kernel - 1) // 2 * dilation
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
    )
    layers: list[tuple[str, nn.Module]] = [(name, conv), (f"{name}_bn", nn.BatchNorm2d(outputs))]
    return layers if activation is None else [*layers, (f"{name}_act", activation)]


def start_normal(conv: nn.Conv2d | nn.ConvTranspose2d, spread: float, bias: float = 0.0) -> None:
    """Draw the weights from N(0, spread); set the bias, if there is one."""
    nn.init.normal_(conv.weight, 0, spread)
    if conv.bias is not None:
        nn.init.constant_(conv.bias, bias)
