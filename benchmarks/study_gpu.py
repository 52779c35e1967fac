"""Step times and peak memory of every recipe of the paper, at its image size and batch.

    python benchmarks/study_gpu.py [RECIPE ...] [--batch 2] [--size 320x320] [--device cuda]

Random weights and pictures; fp32 and bf16. A weight step samples one path, an alpha step mixes all,
a tuning step trains the seed's architecture, each with its loss and its optimizer's step. The
recipes' batches are for several devices: ``--batch`` is what one holds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fnac.adaptation import one_task, recipe_for
from fnac.config import build, parse_size
from fnac.data.joints import MPII
from fnac.flow import resolve
from fnac.importer import ImportedModule, import_onnx
from fnac.models.recipes import recipe_names
from fnac.passes.anchors import AnchorSpec
from fnac.passes.choose import choose
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.export import ExportSettings, export_seed
from fnac.tasks.base import Task
from fnac.tasks.detection import Detection
from fnac.tasks.pose import Pose
from fnac.tasks.segmentation import Segmentation

Size = tuple[int, int]
PER_DEVICE = {"cityscapes": 4, "coco-retinanet": 2, "coco-ssdlite": 16, "mpii": 32}
"""Pictures of a search step on one of the paper's eight devices (MPII: all of them on one)."""


def measure(step: Callable[[], None], device: torch.device, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a step and its peak memory in GiB (0 on a CPU)."""
    cuda = device.type == "cuda"
    step()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    return statistics.median(seconds), peak


def made_up(task: str, graph: Graph, batch: int, size: Size) -> tuple[Task, Tensor]:
    """Return a task and targets for ``batch`` pictures of ``size``."""
    classes = int(graph.manifest["num_classes"])
    names = tuple(str(i) for i in range(classes))
    height, width = size
    if task == "seg":
        return Segmentation(names), torch.randint(0, classes, (batch, *size))
    if task == "pose":
        joints = torch.rand(batch, len(MPII.names), 3) * torch.tensor([width, height, 0.0])
        joints[..., 2] = 2
        return Pose(MPII), joints
    corner = torch.rand(batch, 8, 2) * 0.6
    boxes = torch.cat([corner, corner + 0.05 + 0.3 * torch.rand(batch, 8, 2)], dim=2)
    boxes *= torch.tensor([width, height] * 2)
    labels = torch.randint(0, classes, (batch, 8, 1)).float()
    spec = AnchorSpec.read(graph.manifest["anchors"])
    return Detection(names, spec=spec), torch.cat([boxes, labels], dim=2)


def networks(settings: dict[str, Any], size: Size | None) -> tuple[Graph, Graph]:
    """Return a recipe's super network and its seed alone."""
    export = {**settings["export"], "weights": "none"}
    expanding = {**settings["expand"], "size": size or settings["expand"]["size"]}
    seed = export_seed(build(ExportSettings, export, "export"))
    mixed = expand(
        seed, build(ExpandSettings, expanding, "expand"), manager=PassManager(verify=False)
    )
    alone = mixed.copy()
    choose(alone, [layer["seed_choice"] for layer in mixed.manifest["layers"]])
    return mixed, alone


def steps(
    mixed: Graph, alone: Graph, task: str, batch: int, size: Size, device: torch.device
) -> dict[str, Callable[[torch.dtype], None]]:
    """Return the three kinds of steps by name; each takes a precision."""
    kind, targets = made_up(task, mixed, batch, size)
    images, targets = torch.randn(batch, 3, *size, device=device), targets.to(device)
    super_network = import_onnx(mixed.to_model()).to(device).train()
    target = import_onnx(alone.to_model()).to(device).train()

    def run(module: ImportedModule, parameters: list[nn.Parameter], precision: torch.dtype) -> None:
        optimizer = torch.optim.SGD(parameters, 1e-6, momentum=0.9)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            outputs = module(images)
        kind.loss(outputs, targets, size).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    points = super_network.choice_points
    alphas = [point.alpha for point in points]
    weights = [*super_network.backbone_parameters(), *super_network.head_parameters()]

    def weight_step(precision: torch.dtype) -> None:
        super_network.choose([int(torch.randint(0, len(a), ())) for a in alphas])
        run(super_network, weights, precision)

    def alpha_step(precision: torch.dtype) -> None:
        super_network.mix()
        for weight in weights:
            weight.requires_grad_(False)
        run(super_network, alphas, precision)
        for weight in weights:
            weight.requires_grad_(True)

    return {
        "weight step": weight_step,
        "alpha step": alpha_step,
        "tuning step": lambda precision: run(target, list(target.parameters()), precision),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--size", type=parse_size, help="default: the recipe's")
    parser.add_argument("--batch", type=int, help="pictures on the device")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; this study needs one, or --device cpu")
    papers = [
        name for name in recipe_names() if name.split("-")[0] in ("cityscapes", "coco", "mpii")
    ]
    where = torch.cuda.get_device_name(0) if device.type == "cuda" else "CPU"
    print(f"{where}, torch {torch.__version__}")
    print("| recipe | size | batch | step | precision | ms | GiB |\n|---|---|---|---|---|---|---|")
    for name in given.recipes or papers:
        recipe = recipe_for(name, seed=None, task=None, data="none") or {}
        recipe.setdefault("adapt", {})["task"] = one_task(None, recipe, recipe, name)
        settings = resolve(recipe)
        mixed, alone = networks(settings, given.size)
        crop = settings["search"]["crop"] or settings["expand"]["size"]
        size = given.size or (int(crop[0]), int(crop[1]))
        batch = given.batch or next(n for k, n in PER_DEVICE.items() if name.startswith(k))
        kinds = steps(mixed, alone, settings["adapt"]["task"], batch, size, device)
        for what, step in kinds.items():
            for precision in (torch.float32, torch.bfloat16):
                row = f"| {name} | {size[0]}x{size[1]} | {batch} | {what} | {precision} |"
                try:
                    seconds, memory = measure(lambda: step(precision), device, given.rounds)  # noqa: B023
                    print(f"{row} {1000 * seconds:.1f} | {memory:.1f} |", flush=True)
                except torch.cuda.OutOfMemoryError:
                    print(f"{row} out of memory | |", flush=True)


if __name__ == "__main__":
    main()
