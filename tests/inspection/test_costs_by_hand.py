"""An architecture written by hand costs what one computes by hand: MobileNetV2 under DeepLabv3."""

from __future__ import annotations

import json
from pathlib import Path

from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.stages.derive import DeriveSettings, derive
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings

HEIGHT, WIDTH = 64, 128
STAGES = ((24, 4, 2), (32, 4, 2), (64, 6, 2), (96, 6, 1), (160, 4, 2), (320, 1, 1))
ARCH = (
    "k5e3 k3e6 skip k7e3  k7e6 skip skip k5e6  k3e3 k5e6 k7e3 skip skip k3e6 "
    "k5e3 skip k5e3 k7e6 skip skip  k7e3 k5e6 skip skip  k3e3"
).split()
CLASSES = 5


def backbone_madds(output_stride: int) -> int:
    """Sum the products of stem, k3e1 block and the blocks of ARCH, at strides that stop there."""
    height, width = HEIGHT // 2, WIDTH // 2
    total = 3 * 9 * 32 * height * width  # stem
    total += (9 * 32 + 32 * 16) * height * width  # k3e1
    channels, stride_now, choices = 16, 2, iter(ARCH)
    for outputs, depth, stride in STAGES:
        if stride_now == output_stride:
            stride = 1  # dilation in its place: the same products at a larger size
        stride_now *= stride
        for _ in range(depth):
            choice = next(choices)
            if choice != "skip":
                kernel, expansion = int(choice[1]), int(choice[3])
                hidden = channels * expansion
                total += channels * hidden * height * width
                height, width = height // stride, width // stride
                total += (kernel * kernel * hidden + hidden * outputs) * height * width
            channels, stride = outputs, 1
    return total


def head_madds(output_stride: int) -> int:
    """Sum the products of DeepLabv3's branches, projection and classifier."""
    pixels = (HEIGHT // output_stride) * (WIDTH // output_stride)
    branches = 320 * 256 + 3 * (9 * 320 + 320 * 256)
    return (branches + 1280 * 256 + 256 * CLASSES) * pixels + 320 * 256  # the mean is one pixel


def test_an_arch_by_hand_costs_what_one_computes(tmp_path: Path) -> None:
    seed = export_seed(ExportSettings(seed="mobilenetv2", weights="none", size=(HEIGHT, WIDTH)))
    for output_stride in (16, 8):
        settings = ExpandSettings(task="seg", classes=CLASSES, output_stride=output_stride)
        made = expand(seed, settings, manager=PassManager(verify=False))
        made.save(tmp_path / "super.onnx")
        (tmp_path / "arch.json").write_text(json.dumps({"layers": ARCH}))
        derive(
            tmp_path / "super.onnx",
            tmp_path / "target.onnx",
            DeriveSettings(),
            arch=tmp_path / "arch.json",
        )
        counted = profile(Graph.load(tmp_path / "target.onnx"))
        assert counted.madds == backbone_madds(output_stride) + head_madds(output_stride)
        dilations = {
            int(node.attrs["dilations"][0])
            for node in Graph.load(tmp_path / "target.onnx").nodes
            if node.op == "Conv" and node.metadata.get("fnac.part") != "head"
        }
        assert dilations == ({1, 2} if output_stride == 16 else {1, 2, 4})
