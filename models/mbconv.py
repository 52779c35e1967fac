"""MobileNetV2 and its family from one table form: a stem, stages of MBConv blocks, a classifier.

A stage is one line of text: ``Stage("k3e6 x3", channels=32, stride=2)`` is three blocks with a
3x3 depthwise convolution and expansion 6, the first of which halves the resolution. Blocks that
differ are spelled one by one: ``Stage("k5e6 k5e3 k5e6 k3e6", 32, 2)``; ``skip`` leaves one out.

Parameters are laid out and named as in torchvision (``features.3.conv.1.0.weight``), so that its
published weights load as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .errors import ModelError


@dataclass(frozen=True)
class BlockSpec:
    """One MBConv block: kernel size (odd) and expansion of its hidden channels."""

    kernel: int
    expansion: int


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: ``blocks`` in text, output channels, stride of the first block."""

    blocks: str
    channels: int
    stride: int = 1

    def parse(self) -> list[BlockSpec]:
        """Return the blocks in order, the skipped ones left out; ModelError names a bad word."""
        result: list[BlockSpec] = []
        for word in self.blocks.split():
            if word == "skip":
                continue
            if (repeat := re.fullmatch(r"x(\d+)", word)) and result:
                result.extend([result[-1]] * (int(repeat[1]) - 1))
            elif found := re.fullmatch(r"k(\d+)e(\d+)", word):
                result.append(BlockSpec(int(found[1]), int(found[2])))
            else:
                raise ModelError(
                    f"stage {self.blocks!r}: {word!r}; wanted k<kernel>e<expansion>, skip or "
                    "x<repeats> behind a block"
                )
        return result


@dataclass(frozen=True)
class MBConvTable:
    """A network of the family: everything that sets its shapes, and nothing else.

    ``stem`` and ``last`` are output channels of the first and the last convolution; ``last`` is 0
    for a network without one.
    """

    name: str
    stem: int
    stages: tuple[Stage, ...]
    last: int = 0

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
        return MBConvTable(name, divisible(self.stem * width), stages, last)

    @property
    def channels(self) -> int:
        """Channels of the last stage, which is what a head reads."""
        return self.stages[-1].channels


MOBILENETV2 = MBConvTable(
    name="mobilenetv2",
    stem=32,
    stages=(
        Stage("k3e1", 16, 1),
        Stage("k3e6 x2", 24, 2),
        Stage("k3e6 x3", 32, 2),
        Stage("k3e6 x4", 64, 2),
        Stage("k3e6 x3", 96, 1),
        Stage("k3e6 x3", 160, 2),
        Stage("k3e6", 320, 1),
    ),
    last=1280,
)


def divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, never more than 10 % down (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvBNAct(nn.Sequential):
    """Convolution without bias, BN, ReLU6; keys ``0`` and ``1`` as in torchvision."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
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
            nn.ReLU6(inplace=True),
        )


class MBConv(nn.Module):
    """Expansion 1x1, depthwise kxk, linear projection 1x1; a residual add where shapes allow.

    Expansion 1 has no expansion convolution. (N, inputs, H, W) -> (N, outputs, H/stride, W/stride).
    """

    def __init__(
        self, inputs: int, outputs: int, spec: BlockSpec, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        hidden = inputs * spec.expansion
        layers: list[nn.Module] = []
        if spec.expansion != 1:
            layers.append(ConvBNAct(inputs, hidden, 1))
        layers += [
            ConvBNAct(hidden, hidden, spec.kernel, stride, groups=hidden, dilation=dilation),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        return x + self.conv(x) if self.residual else self.conv(x)


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
        layers: list[nn.Module] = [ConvBNAct(3, table.stem, 3, stride=2)]
        channels, current, dilation = table.stem, 2, 1
        for stage in table.stages:
            stride = stage.stride
            if stride > 1 and current == output_stride:
                dilation, stride = dilation * stride, 1
            current *= stride
            for spec in stage.parse():
                layers.append(MBConv(channels, stage.channels, spec, stride, dilation))
                channels, stride = stage.channels, 1
        if table.last and (classes or keep_last):
            layers.append(ConvBNAct(channels, table.last, 1))
            channels = table.last
        self.features = nn.Sequential(*layers)
        self.channels = channels
        self.classifier = None
        if classes:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes))
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes), or (N, C, H/stride, W/stride) for a backbone."""
        x = self.features(x)
        if self.classifier is None:
            return x
        return self.classifier(torch.flatten(self.pool(x), 1))


def mobilenetv2(width: float = 1.0, classes: int = 1000, last: int | None = None) -> MBConvNet:
    """Build MobileNetV2 for classification, with torchvision's parameter names and shapes."""
    return MBConvNet(MOBILENETV2.scaled(width, last), classes)


def backbone(table: MBConvTable, output_stride: int = 32, keep_last: bool = False) -> MBConvNet:
    """Build the part that a dense head reads; see MBConvNet."""
    return MBConvNet(table, classes=0, output_stride=output_stride, keep_last=keep_last)


def initialize(module: nn.Module) -> None:
    """Give every layer the usual random start: kaiming (fan out), BN 1 and 0, linear N(0, 0.01).

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
