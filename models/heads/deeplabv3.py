"""DeepLabv3's head with separable atrous convolutions, as in FNA++'s Table II.

Five branches on the backbone's last features (a 1x1 convolution, three separable 3x3 ones of
growing dilation, the image's mean), concatenated, projected, classified, resized to the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..to_onnx import BroadcastLike, ResizeLike
from .layers import conv_bn, named

WIDTH = 256
RATES = (6, 12, 18)
"""Dilations at output stride 16; twice that at 8."""


def rates(output_stride: int) -> list[int]:
    """Return the dilations of the three branches; ModelError for an impossible stride."""
    if output_stride not in (8, 16, 32):
        raise ModelError(f"output stride {output_stride}: wanted 8, 16 or 32")
    return [max(1, rate * 16 // output_stride) for rate in RATES]


def pointwise(inputs: int, outputs: int = WIDTH) -> nn.Sequential:
    """1x1 convolution, BN, ReLU."""
    return named(conv_bn("pw", inputs, outputs, activation=nn.ReLU()))


def separable(inputs: int, dilation: int) -> nn.Sequential:
    """Depthwise 3x3 of this dilation, BN, ReLU, then a pointwise part."""
    return named(
        conv_bn("dw", inputs, inputs, 3, dilation=dilation, groups=inputs, activation=nn.ReLU())
        + conv_bn("pw", inputs, WIDTH, activation=nn.ReLU())
    )


class DeepLabV3Head(nn.Module):
    """(N, in_channels, h, w) features and the image (N, 3, H, W) -> logits (N, classes, H, W)."""

    def __init__(self, in_channels: int, num_classes: int, output_stride: int = 16) -> None:
        super().__init__()
        dilated = (separable(in_channels, rate) for rate in rates(output_stride))
        self.aspp = nn.ModuleList([pointwise(in_channels), *dilated])
        self.image_mean = nn.AdaptiveAvgPool2d(1)
        self.image_pool = pointwise(in_channels)
        self.spread = BroadcastLike()  # bilinear resizing of one pixel is a broadcast
        self.project = pointwise(WIDTH * 5)
        self.dropout = nn.Dropout(0.1)
        self.classify = nn.Conv2d(WIDTH, num_classes, 1)
        self.resize = ResizeLike()
        # torch's own initialisation is kept: kaiming fan-out starts a classifier of few outputs
        # with logits of several units

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Return logits at the image's size."""
        branches = [branch(features) for branch in self.aspp]
        pooled = self.image_pool(self.image_mean(features))
        branches.append(self.spread(pooled, branches[0]))
        x = self.project(torch.cat(branches, 1))
        logits: Tensor = self.resize(self.classify(self.dropout(x)), image)
        return logits
