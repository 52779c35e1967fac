"""What `fnac shrink` takes: time and memory for MobileNetV2, its widest block, and depth.

Without arguments the network has random weights and the images are the built-in scenes: time does
not depend on either. With a file: that network. `--depth` sets a network of ten times as many
blocks against one (6 and 60 MBConv blocks of 32 channels at 32x32 pixels): how time grows.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from pathlib import Path

import numpy as np
import onnx

from fnac.architectures.budget import parse_budget
from fnac.data.scenes.source import SceneSource
from fnac.passes.graph import Graph
from fnac.passes.remap.eliminate import eliminate
from fnac.passes.remap.gram import Gram
from fnac.stages.export import export_seed
from fnac.stages.exporting.settings import ExportSettings
from fnac.stages.shrink import shrink
from fnac.stages.shrinking.settings import ShrinkSettings


def scenes(count: int, size: tuple[int, int]) -> np.ndarray:
    """Return built-in scenes as a network wants them, (count, 3, H, W)."""
    dataset = SceneSource(task="seg", train=count, size=size).split("train")
    pixels = np.stack([dataset[i][0].numpy() for i in range(count)]).astype(np.float32) / 255
    return np.asarray((pixels - 0.45) / 0.225, np.float32)


def widest_block() -> float:
    """Return the seconds that a fit of 960 hidden channels takes, moments included."""
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((64, 960, 14, 14)), 0).astype(np.float32)
    weight = rng.standard_normal((160, 960, 1, 1))
    started = time.perf_counter()
    gram = Gram(960)
    gram.add(features)
    eliminate(gram.moments().second, weight)
    return time.perf_counter() - started


def chain(blocks: int) -> Graph:
    """Return a classifier of so many equal MBConv blocks, random weights."""
    import torch
    from torchvision.models.mobilenetv2 import InvertedResidual, MobileNetV2

    torch.manual_seed(0)
    settings = [[4, 32, blocks, 1]]
    module = MobileNetV2(num_classes=10, inverted_residual_setting=settings).eval()
    assert sum(isinstance(m, InvertedResidual) for m in module.modules()) == blocks
    file = io.BytesIO()
    torch.onnx.export(module, (torch.zeros(1, 3, 64, 64),), file, dynamo=False, opset_version=17)
    return Graph.from_model(onnx.load_from_string(file.getvalue()))


def depth() -> None:
    """Print the seconds for 6 and 60 blocks, and their ratio."""
    images = scenes(64, (64, 64))
    seconds = {}
    for blocks in (6, 60):
        graph = chain(blocks)
        settings = ShrinkSettings(images=48, held_back=16)
        seconds[blocks] = shrink(graph, images, parse_budget("0.6x"), settings).seconds
        print(f"{blocks} blocks: {seconds[blocks]:.1f} s")
    print(f"60 blocks take {seconds[60] / seconds[6]:.1f} times what 6 take")


def main() -> None:
    """Print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--budget", default="0.6x")
    parser.add_argument("--depth", action="store_true", help="six blocks against sixty")
    options = parser.parse_args()
    if options.depth:
        depth()
        return
    if options.model:
        graph = Graph.load(options.model)
    else:
        graph = export_seed(ExportSettings(seed="mobilenetv2", weights="none"))
    size = graph.image_size()
    assert size is not None, "the file does not say how large its images are"
    images = scenes(options.images + 32, size)
    found = shrink(graph, images, parse_budget(options.budget), ShrinkSettings())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{found.seconds:.0f} s, peak {peak:.2f} GB, {options.images} images of {size}")
    print(f"{found.before['madds']:,} -> {found.after['madds']:,} MAdds, error {found.error:.4g}")
    print(f"fit of 960 channels on 12,544 pixels: {widest_block():.2f} s")


if __name__ == "__main__":
    main()
