"""SSDLite: six levels, the last four from depthwise blocks, separable predictors with BN.

As in the FNA authors' code: it reads the expansion of the first block of stride 32 (576 channels
in MobileNetV2) and the last convolution's features (1280); predictors end in a 1x1 convolution
with BN and without bias; convolutions start N(0, 0.03).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..to_onnx import RowPerAnchor
from .anchors import SSDLITE_RATIOS
from .layers import conv_bn, named, start_normal

EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
"""Inner and output channels of the blocks that make the last four levels, each of stride 2."""
CELLS = tuple(2 + 2 * len(ratios) for ratios in SSDLITE_RATIOS)
"""Anchors per cell and level."""


def extra(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    """1x1 to ``inner`` channels, depthwise 3x3 of stride 2, 1x1; BN and ReLU6 after each."""
    return named(
        conv_bn("reduce", inputs, inner, activation=nn.ReLU6())
        + conv_bn("dw", inner, inner, 3, stride=2, groups=inner, activation=nn.ReLU6())
        + conv_bn("pw", inner, outputs, activation=nn.ReLU6())
    )


def predictor(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3, BN, ReLU6, then a 1x1 convolution with BN that stays linear."""
    return named(
        conv_bn("dw", inputs, inputs, 3, groups=inputs, activation=nn.ReLU6())
        + conv_bn("pw", inputs, outputs)
    )


class SSDLiteHead(nn.Module):
    """Features at strides 16 and 32 -> class logits (N, A, classes + 1), box deltas (N, A, 4).

    Rows by level (finest first), y, x, anchor of the cell; class 0 of the softmax is background.
    """

    def __init__(self, expansion: int, last: int, num_classes: int) -> None:
        super().__init__()
        channels = [expansion, last]
        self.extras = nn.ModuleList()
        for inner, outputs in EXTRAS:
            self.extras.append(extra(channels[-1], inner, outputs))
            channels.append(outputs)
        columns = num_classes + 1
        pairs = list(zip(channels, CELLS, strict=True))
        self.classify = nn.ModuleList(predictor(c, cells * columns) for c, cells in pairs)
        self.locate = nn.ModuleList(predictor(c, cells * 4) for c, cells in pairs)
        self.class_rows = RowPerAnchor(columns)
        self.box_rows = RowPerAnchor(4)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                start_normal(part, 0.03)

    def forward(self, expansion: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and box deltas of all levels."""
        levels = [expansion, last]
        for block in self.extras:
            levels.append(block(levels[-1]))
        classes = [self.class_rows(f(x)) for f, x in zip(self.classify, levels)]
        boxes = [self.box_rows(f(x)) for f, x in zip(self.locate, levels)]
        return torch.cat(classes, 1), torch.cat(boxes, 1)
