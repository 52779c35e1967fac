"""ResNets of basic and bottleneck blocks, with torchvision's parameter names and shapes.

The stride of a bottleneck is on its 3x3 convolution (ResNet "v1.5", as in torchvision and in the
FNA++ tables).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .mbconv import divisible, initialize

STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNetTable:
    """A ResNet: kind of block (``basic`` or ``bottleneck``), blocks and inner width per stage.

    A bottleneck leaves four times its inner width.
    """

    name: str
    block: str
    depths: tuple[int, ...]
    stem: int = 64
    widths: tuple[int, ...] = STAGE_WIDTHS

    def scaled(self, width: float, last: int | None = None) -> ResNetTable:
        """Return the table with all channels times ``width``; a ResNet has no last convolution."""
        if width <= 0:
            raise ModelError(f"width {width}: wanted a number above 0")
        if last is not None:
            raise ModelError(f"{self.name}: it has no last convolution to give {last} channels")
        widths = tuple(divisible(w * width) for w in self.widths)
        name = self.name if width == 1 else f"{self.name}_w{width:g}"
        return replace(self, name=name, stem=divisible(self.stem * width), widths=widths)

    @property
    def channels(self) -> int:
        """Channels of the last stage, which is what a head reads."""
        return self.widths[-1] * BLOCKS[self.block].growth

    def network(self, classes: int = 1000, keep_last: bool = False) -> ResNet:
        """Build the network; 0 classes: the backbone alone (it has no last convolution to keep)."""
        return ResNet(self, classes)


class BasicBlock(nn.Module):
    """3x3, 3x3, residual add, ReLU. (N, inputs, H, W) -> (N, width, H/stride, W/stride)."""

    growth = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        activated: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return activated


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, residual add, ReLU. (N, inputs, H, W) -> (N, 4 width, H/stride, W/stride)."""

    growth = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.growth, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.growth)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width * self.growth, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        activated: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return activated


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


class ResNet(nn.Module):
    """Stem (7x7/2, 3x3/2 max pooling), four stages ``layer1`` .. ``layer4``, classifier ``fc``.

    ``classes`` 0 builds the backbone alone.
    """

    def __init__(self, table: ResNetTable, classes: int = 1000) -> None:
        super().__init__()
        if table.block not in BLOCKS:
            raise ModelError(f"block {table.block!r}; there are: {', '.join(BLOCKS)}")
        self.table = table
        self.channels = table.channels
        self.conv1 = nn.Conv2d(3, table.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(table.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        kind, inputs = BLOCKS[table.block], table.stem
        for number, (depth, width) in enumerate(zip(table.depths, table.widths), start=1):
            stage = nn.Sequential()
            for index in range(depth):
                stride = 2 if index == 0 and number > 1 else 1
                stage.append(kind(inputs, width, stride))
                inputs = width * kind.growth
            self.add_module(f"layer{number}", stage)
        self.fc = None
        if classes:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(inputs, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes), or (N, C, H/32, W/32) for a backbone."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(self.table.depths) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x if self.fc is None else self.fc(torch.flatten(self.avgpool(x), 1))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 convolution and BN of a shortcut whose shape changes; None for an identity."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
