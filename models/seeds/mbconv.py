"""MobileNetV2's family from one kind of table: a stem, stages of MBConv blocks, a classifier.

A stage is one line of text: ``Stage("k3e6 x3", channels=32, stride=2)`` is three blocks with a
3x3 depthwise convolution and expansion 6, the first of which halves the resolution. Blocks that
differ are spelled one by one: ``Stage("k5e6 k5e3 k5e6 k3e6", 32, 2)``; ``skip`` leaves one out.
A block of expansion 1 has no expansion convolution unless it is spelled ``k3e1+``. The networks
there are stand in ``tables.py``.

Parameters are laid out and named as in torchvision (``features.3.conv.1.0.weight``), so that its
published weights load as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import ModelError


@dataclass(frozen=True)
class BlockSpec:
    """One MBConv block: kernel size (odd) and expansion of its hidden channels.

    ``pointwise``: expansion 1 has its 1x1 convolution all the same.
    """

    kernel: int
    expansion: int
    pointwise: bool = False

    @property
    def expands(self) -> bool:
        """Say whether the block begins with a 1x1 convolution."""
        return self.expansion != 1 or self.pointwise


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: ``blocks`` as text, output channels, stride of the first block."""

    blocks: str
    channels: int
    stride: int = 1

    def places(self) -> list[BlockSpec | None]:
        """Return the blocks in order, None for a skipped one; ModelError names a bad word."""
        result: list[BlockSpec | None] = []
        for word in self.blocks.split():
            if word == "skip":
                result.append(None)
            elif (repeat := re.fullmatch(r"x(\d+)", word)) and result:
                result.extend([result[-1]] * (int(repeat[1]) - 1))
            elif match := re.fullmatch(r"k(\d+)e(\d+)(\+?)", word):
                result.append(BlockSpec(int(match[1]), int(match[2]), bool(match[3])))
            else:
                raise ModelError(
                    f"stage {self.blocks!r}: {word!r}; wanted k<kernel>e<expansion>, skip or "
                    "x<repeats> behind a block"
                )
        return result

    def parse(self) -> list[BlockSpec]:
        """Return the blocks in order, the skipped ones left out."""
        return [spec for spec in self.places() if spec is not None]


@dataclass(frozen=True)
class MBConvTable:
    """A network of the family: everything that determines its shapes, and nothing else.

    ``stem`` and ``last`` are output channels of the first and the last convolution; ``last`` is 0
    for a network without one. ``activation`` is ``relu6`` or ``relu``; ``epsilon`` is BN's.
    """

    name: str
    stem: int
    stages: tuple[Stage, ...]
    last: int = 0
    activation: str = "relu6"
    epsilon: float = 1e-5

    def scaled(self, width: float, last: int | None = None) -> MBConvTable:
        """Return the table with all channels times ``width``, rounded as torchvision rounds.

        The last convolution never shrinks below its width 1 size; ``last`` sets it outright.
        """
        if width <= 0:
            raise ModelError(f"width {width}: wanted a number above 0")
        if last is None:
            last = divisible(self.last * max(1.0, width)) if self.last else 0
        stages = tuple(replace(s, channels=divisible(s.channels * width)) for s in self.stages)
        name = self.name if width == 1 else f"{self.name}_w{width:g}"
        return replace(self, name=name, stem=divisible(self.stem * width), stages=stages, last=last)

    @property
    def channels(self) -> int:
        """Channels of the last stage, which is what a head reads."""
        return self.stages[-1].channels

    def network(self, classes: int = 1000, keep_last: bool = False) -> MBConvNet:
        """Build the network; 0 classes: the backbone alone, see MBConvNet."""
        return MBConvNet(self, classes, keep_last=keep_last)


def divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, never more than 10 % down (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"relu6": nn.ReLU6, "relu": nn.ReLU}


class ConvBNAct(nn.Sequential):
    """Convolution without bias, BN, activation; keys ``0`` and ``1`` as in torchvision."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        activation: str = "relu6",
    ) -> None:
        super().__init__(
            nn.Conv2d(
                inputs,
                outputs,
                kernel,
                stride,
                padding=(kernel - 1) // 2 * dilation,
                dilation=dilation,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
            ACTIVATIONS[activation](inplace=True),
        )


class MBConv(nn.Module):
    """Expansion 1x1, depthwise kxk, linear projection 1x1; a residual add where shapes allow.

    (N, inputs, H, W) -> (N, outputs, H/stride, W/stride).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        spec: BlockSpec,
        stride: int = 1,
        dilation: int = 1,
        activation: str = "relu6",
    ) -> None:
        super().__init__()
        hidden = inputs * spec.expansion
        layers: list[nn.Module] = []
        if spec.expands:
            layers.append(ConvBNAct(inputs, hidden, 1, activation=activation))
        layers += [
            ConvBNAct(hidden, hidden, spec.kernel, stride, hidden, dilation, activation),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        y: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return y


class MBConvNet(nn.Module):
    """A network of the family.

    ``classes`` 0 builds the backbone alone: no classifier and, unless ``keep_last``, no last
    convolution. ``output_stride`` 8, 16 or 32: once the current stride equals it, strides become
    1 and the dilation grows instead, for the whole stage including its first block.
    """

    def __init__(
        self,
        table: MBConvTable,
        classes: int = 1000,
        output_stride: int = 32,
        keep_last: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ModelError(f"output stride {output_stride}: wanted 8, 16 or 32")
        self.table = table
        act = table.activation
        layers: list[nn.Module] = [ConvBNAct(3, table.stem, 3, stride=2, activation=act)]
        channels, current, dilation = table.stem, 2, 1
        for stage in table.stages:
            stride = stage.stride
            if stride > 1 and current == output_stride:
                dilation, stride = dilation * stride, 1
            current *= stride
            for spec in stage.parse():
                layers.append(MBConv(channels, stage.channels, spec, stride, dilation, act))
                channels, stride = stage.channels, 1
        if table.last and (classes or keep_last):
            layers.append(ConvBNAct(channels, table.last, 1, activation=act))
            channels = table.last
        self.features = nn.Sequential(*layers)
        self.channels = channels
        self.classifier = None
        if classes:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes))
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = table.epsilon
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes), or (N, C, H/stride, W/stride) for a backbone."""
        x = self.features(x)
        if self.classifier is None:
            return x
        logits: Tensor = self.classifier(torch.flatten(self.pool(x), 1))
        return logits


def initialize(module: nn.Module) -> None:
    """Initialise every layer as usual: Kaiming (fan out), BN 1 and 0, linear N(0, 0.01).

    The fan of a grouped convolution is that of one group; torch's own would let the signal of a
    network of depthwise convolutions vanish before BN has seen any data.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan = part.kernel_size[0] * part.kernel_size[1] * part.out_channels / part.groups
            nn.init.normal_(part.weight, 0, (2 / fan) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 0.01)
            nn.init.zeros_(part.bias)
