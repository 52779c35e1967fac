"""DeepLabv3+'s head: dense atrous pyramid, low-level features, a decoder of two convolutions.

The plain head of Table II's v3+ rows: 256 channels throughout, 48 for the low-level features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..to_onnx import BroadcastLike, ResizeLike
from .deeplabv3 import WIDTH, pointwise, rates
from .layers import conv_bn, named

LOW_WIDTH = 48


def window(inputs: int, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution of this dilation to 256 channels, BN, ReLU."""
    return named(conv_bn("conv", inputs, WIDTH, 3, dilation=dilation, activation=nn.ReLU()))


class DeepLabV3PlusHead(nn.Module):
    """Features (N, C, h, w), c2 (N, C2, H/4, W/4), image (N, 3, H, W) -> logits (N, classes, H, W).

    ``in_channels`` and ``low_channels`` are C and C2.
    """

    def __init__(
        self, in_channels: int, low_channels: int, num_classes: int, output_stride: int = 16
    ) -> None:
        super().__init__()
        dilated = (window(in_channels, rate) for rate in rates(output_stride))
        self.aspp = nn.ModuleList([pointwise(in_channels), *dilated])
        self.image_mean = nn.AdaptiveAvgPool2d(1)
        self.image_pool = pointwise(in_channels)
        self.spread = BroadcastLike()
        self.project = pointwise(WIDTH * 5)
        self.low = pointwise(low_channels, LOW_WIDTH)
        self.enlarge = ResizeLike()
        self.decode = nn.Sequential(window(WIDTH + LOW_WIDTH), window(WIDTH))
        self.dropout = nn.Dropout(0.1)
        self.classify = nn.Conv2d(WIDTH, num_classes, 1)
        self.resize = ResizeLike()

    def forward(self, features: Tensor, c2: Tensor, image: Tensor) -> Tensor:
        """Return logits at the image's size."""
        branches = [branch(features) for branch in self.aspp]
        pooled = self.image_pool(self.image_mean(features))
        branches.append(self.spread(pooled, branches[0]))
        x = self.project(torch.cat(branches, 1))
        x = self.decode(torch.cat([self.enlarge(x, c2), self.low(c2)], 1))
        logits: Tensor = self.resize(self.classify(self.dropout(x)), image)
        return logits
