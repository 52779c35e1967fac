"""What `fnac shrink` takes: time and memory for MobileNetV2, and the fit of its widest block.

Without arguments the network has random weights and the images are the built-in scenes: time does
not depend on either. With a file and a folder of images: that network.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

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


def main() -> None:
    """Print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--budget", default="0.6x")
    options = parser.parse_args()
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
