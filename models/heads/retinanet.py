"""RetinaNet: a feature pyramid of five levels and two subnets that all levels share.

As in the FNA++ tables: 1x1 laterals, nearest-neighbour top-down sums, 3x3 outputs; P6 is a 3x3/2
convolution of C5, P7 one of P6 without a ReLU before it; everything with bias, nothing normalised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..to_onnx import ResizeLike, RowPerAnchor
from .layers import start_normal

WIDTH = 256
DEPTH = 4
PRIOR = 0.01
"""Probability of an object at the start (RetinaNet, section 4.1)."""
ANCHORS = 9


class FeaturePyramid(nn.Module):
    """c3, c4, c5 at strides 8, 16, 32 -> p3 .. p7 of 256 channels at strides 8 .. 128."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in channels)
        self.p6 = nn.Conv2d(channels[-1], WIDTH, 3, 2, 1)
        self.p7 = nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)
        self.enlarge = ResizeLike("nearest")
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_uniform_(part.weight)  # as FPN is started
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> list[Tensor]:
        """Return the five levels, finest first."""
        top = self.lateral[2](c5)
        middle = self.lateral[1](c4)
        middle = middle + self.enlarge(top, middle)
        fine = self.lateral[0](c3)
        fine = fine + self.enlarge(middle, fine)
        p6 = self.p6(c5)
        smooth = [self.output[0](fine), self.output[1](middle), self.output[2](top)]
        return [*smooth, p6, self.p7(p6)]


def subnet(outputs: int, bias: float = 0.0) -> nn.Sequential:
    """Four 3x3 convolutions with ReLU and one to ``outputs`` channels, weights N(0, 0.01)."""
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        inner = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        start_normal(inner, 0.01)
        layers += [inner, nn.ReLU()]
    last = nn.Conv2d(WIDTH, outputs, 3, padding=1)
    start_normal(last, 0.01, bias)
    return nn.Sequential(*layers, last)


class RetinaNetHead(nn.Module):
    """c3, c4, c5 -> class logits (N, A, classes), box deltas (N, A, 4).

    Rows by level (finest first), y, x, anchor of the cell; classes are scored by sigmoids.
    """

    def __init__(self, c3: int, c4: int, c5: int, num_classes: int) -> None:
        super().__init__()
        self.fpn = FeaturePyramid((c3, c4, c5))
        self.classify = subnet(ANCHORS * num_classes, bias=-math.log((1 - PRIOR) / PRIOR))
        self.locate = subnet(ANCHORS * 4)
        self.class_rows = RowPerAnchor(num_classes)
        self.box_rows = RowPerAnchor(4)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and box deltas of all levels."""
        levels = self.fpn(c3, c4, c5)
        classes = [self.class_rows(self.classify(level)) for level in levels]
        boxes = [self.box_rows(self.locate(level)) for level in levels]
        return torch.cat(classes, 1), torch.cat(boxes, 1)
