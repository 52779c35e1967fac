"""The seed that comes with the package: MobileNetV2 of width 0.35, pre-trained on CIFAR-10.

See README.md beside this file for its accuracy and how it was made (train.py, then
benchmarks/export_bundled_seed.py).
"""

from __future__ import annotations

from pathlib import Path

NAME = "mobilenetv2_w035_cifar10"
WIDTH = 0.35
LAST = 512
"""Channels of the last convolution; MobileNetV2's own 1280 would be most of the file."""
SIZE = (64, 64)
"""Height and width in pixels at which it was trained and is exported."""


def path() -> Path:
    """Return the path of the bundled ONNX file."""
    return Path(__file__).with_name(f"{NAME}.onnx")
