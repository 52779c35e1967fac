"""Step times and peak memory of search and tuning on a CUDA device, at the paper's image size.

    python benchmarks/study_gpu.py [--size 769x769] [--batch 16]

MobileNetV2 + DeepLabv3, random weights and pictures; fp32 and bf16, eager and compiled.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from fnac.config import parse_size
from fnac.importer import import_onnx
from fnac.passes.choose import choose
from fnac.passes.manager import PassManager
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.export import ExportSettings, export_seed


def measure(step: Callable[[], None], rounds: int = 10) -> tuple[float, float]:
    """Return the median seconds of a step and its peak memory in GiB."""
    for _ in range(3):
        step()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**30


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=parse_size, default=(769, 769))
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; this study needs one")
    seed = export_seed(ExportSettings(weights="none", size=given.size))
    wanted = ExpandSettings(task="seg", classes=19, size=given.size)
    network = expand(seed, wanted, manager=PassManager(verify=False))
    alone = network.copy()
    choose(alone, [layer["seed_choice"] for layer in network.manifest["layers"]])
    images = torch.randn(given.batch, 3, *given.size, device="cuda")
    target = torch.randint(0, 19, (given.batch, *given.size), device="cuda")
    print(f"{torch.cuda.get_device_name(0)}, batch {given.batch}, size {given.size}")
    print("| step | precision | ms | GiB |\n|---|---|---|---|")
    for precision in (torch.float32, torch.bfloat16):
        mixed = import_onnx(network.to_model()).cuda().train()
        plain = import_onnx(alone.to_model()).cuda().train()
        compiled = torch.compile(import_onnx(alone.to_model()).cuda().train())

        def step(module: torch.nn.Module, kind: torch.dtype = precision) -> None:
            module.zero_grad(set_to_none=True)
            with torch.autocast("cuda", kind, enabled=kind != torch.float32):
                logits = module(images)
            torch.nn.functional.cross_entropy(logits.float(), target).backward()

        def path_step(module=mixed) -> None:  # type: ignore[no-untyped-def]
            module.choose([0] * len(module.choice_points))
            step(module)

        def all_step(module=mixed) -> None:  # type: ignore[no-untyped-def]
            module.mix()
            step(module)

        sides: dict[str, Callable[[], None]] = {
            "seed": lambda module=plain: step(module),  # type: ignore[misc]
            "seed, compiled": lambda module=compiled: step(module),  # type: ignore[misc]
            "weight step (one path)": path_step,
            "alpha step (all paths)": all_step,
        }
        for name, side in sides.items():
            try:
                seconds, memory = measure(side)
                print(f"| {name} | {precision} | {1000 * seconds:.1f} | {memory:.1f} |")
            except torch.cuda.OutOfMemoryError:
                print(f"| {name} | {precision} | out of memory | |")


if __name__ == "__main__":
    main()
