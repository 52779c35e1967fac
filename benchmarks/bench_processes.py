"""Wall time of `fnac profile` and `fnac expand` as whole processes, and its growth with length.

The longer network is MobileNetV2 with every stage ten times as deep; ``--space mbconv`` keeps the
depths of both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5


def seconds(*arguments: str) -> float:
    """Return the wall time of one fnac process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fnac.cli", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def long_seed(path: Path, factor: int) -> None:
    """Write MobileNetV2 with ``factor`` times the blocks."""
    from fnac.passes.blocks.find import find_blocks
    from fnac.passes.graph import Graph
    from fnac.passes.grow.grow_depth import GrowDepth

    graph = Graph.load(path.with_name("seed.onnx"))
    for number, stage in enumerate(find_blocks(graph).stages):
        GrowDepth(stage=number, depth=factor * len(stage.blocks)).run(graph)
    graph.refresh_shapes()
    graph.save(path)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        seed, longer = Path(folder) / "seed.onnx", Path(folder) / "long.onnx"
        seconds("export", "mobilenetv2", "--weights", "none", "-o", str(seed))
        resnet = Path(folder) / "resnet50.onnx"
        seconds("export", "resnet50", "--weights", "none", "-o", str(resnet))
        long_seed(longer, 10)
        out = str(Path(folder) / "super.onnx")
        jobs = {
            "--help": ["--help"],
            "profile": ["profile", str(seed), "--json"],
            "profile, ResNet-50": ["profile", str(resnet), "--json"],
            "expand --no-verify": ["expand", str(seed), "--no-verify", "-o", out],
            "expand --no-verify --task seg": [
                *("expand", str(seed), "--task", "seg", "--classes", "19"),
                *("--no-verify", "-o", out),
            ],
            "profile, 10x longer": ["profile", str(longer), "--json"],
            "expand --space mbconv": [
                *("expand", str(seed), "--space", "mbconv", "--no-verify", "-o", out)
            ],
            "expand --space mbconv, 10x longer": [
                *("expand", str(longer), "--space", "mbconv", "--no-verify", "-o", out)
            ],
        }
        medians = {}
        for name, arguments in jobs.items():
            times = [seconds(*arguments) for _ in range(ROUNDS)]
            medians[name] = statistics.median(times)
            print(f"{name:34} {medians[name]:7.3f} s (min {min(times):.3f}, max {max(times):.3f})")
        for name in ("profile", "expand --space mbconv"):
            ratio = medians[f"{name}, 10x longer"] / medians[name]
            print(f"{name}: a network 10x longer takes {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
