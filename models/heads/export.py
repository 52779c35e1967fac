"""Write a head alone as ONNX, for the compiler to splice onto a backbone."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from torch import nn

from ..errors import ModelError
from ..to_onnx import to_onnx
from .deeplabv3 import DeepLabV3Head

HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {"deeplabv3": DeepLabV3Head}
"""Head name -> builder from (in_channels, num_classes, output_stride)."""


def build_head(name: str, in_channels: int, num_classes: int, output_stride: int = 16) -> nn.Module:
    """Build a head by its name; ModelError names the heads there are."""
    if name not in HEADS:
        raise ModelError(f"head {name!r}; there are: {', '.join(HEADS)}")
    if num_classes < 1:
        raise ModelError(f"head {name}: {num_classes} classes; wanted at least 1")
    return HEADS[name](in_channels, num_classes, output_stride)


def export_head(
    name: str, in_channels: int, num_classes: int, output_stride: int = 16, seed: int = 0
) -> onnx.ModelProto:
    """Write a freshly initialized head as trainable ONNX.

    Inputs ``features`` (N, in_channels, h, w) and ``image`` (N, 3, H, W), output ``logits``
    (N, classes, H, W), all of N, h, w, H, W symbolic. Weights are named ``head.<layer>``.
    ``seed`` sets the random start; torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(name, in_channels, num_classes, output_stride)
    return to_onnx(
        head,
        inputs={
            "features": ["batch", in_channels, "h", "w"],
            "image": ["batch", 3, "height", "width"],
        },
        outputs={"logits": ["batch", num_classes, "height", "width"]},
        prefix="head.",
    )
