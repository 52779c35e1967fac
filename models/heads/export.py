"""Write a head by itself as ONNX, for the compiler to splice onto a backbone."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from torch import nn

from ..errors import ModelError
from ..to_onnx import Dims, to_onnx
from .deeplabv3 import DeepLabV3Head
from .deeplabv3plus import DeepLabV3PlusHead
from .kinds import HEADS, HeadKind
from .linear import LinearHead
from .retinanet import RetinaNetHead
from .simplebaseline import SimpleBaselineHead
from .ssdlite import SSDLiteHead

BUILDERS: dict[str, type[nn.Module]] = {
    "deeplabv3": DeepLabV3Head,
    "deeplabv3plus": DeepLabV3PlusHead,
    "retinanet": RetinaNetHead,
    "ssdlite": SSDLiteHead,
    "simplebaseline": SimpleBaselineHead,
    "linear": LinearHead,
}
"""Head name -> class, built from the channels of its taps, then the number of classes."""


def build_head(
    name: str, channels: Mapping[str, int], num_classes: int, output_stride: int = 16
) -> nn.Module:
    """Build a head by its name; ``channels`` of each tap it reads, by the tap's name.

    Raises ModelError naming the heads there are, or a tap whose channels were not given.
    """
    kind = _kind(name)
    if num_classes < 1:
        raise ModelError(f"head {name}: {num_classes} classes; wanted at least 1")
    missing = [tap for tap in kind.taps if tap not in channels]
    if missing:
        raise ModelError(f"head {name}: it reads {missing[0]}, whose channels were not given")
    arguments = [*(channels[tap] for tap in kind.taps), num_classes]
    if kind.dense:
        arguments.append(output_stride)
    return BUILDERS[name](*arguments)


def export_head(
    name: str,
    channels: Mapping[str, int],
    num_classes: int,
    output_stride: int = 16,
    random_seed: int = 0,
) -> onnx.ModelProto:
    """Write a freshly initialized head as trainable ONNX.

    Its inputs are called as the taps they are joined to, and ``image``; outputs as the task's.
    Only channels are numbers, every other dimension is symbolic. Weights are named
    ``head.<layer>``. ``random_seed`` sets the random start; torch's own generator is not changed.
    """
    kind = _kind(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_seed)
        head = build_head(name, channels, num_classes, output_stride)
    inputs: dict[str, Dims] = {
        tap: ["batch", channels[tap], f"{tap}_height", f"{tap}_width"] for tap in kind.taps
    }
    if kind.image:
        inputs["image"] = ["batch", 3, "height", "width"]
    return to_onnx(head, inputs, kind.outputs(num_classes), prefix="head.")


def _kind(name: str) -> HeadKind:
    if name not in HEADS:
        raise ModelError(f"head {name!r}; there are: {', '.join(HEADS)}")
    return HEADS[name]
