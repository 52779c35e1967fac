"""Step times and peak memory of every recipe of the paper, at its image size and batch.

    python benchmarks/study_gpu.py [RECIPE ...] [--devices 8] [--batch 2] [--size 320x320]

Random weights and images; fp32 and bf16. A weight step samples one path, an alpha step mixes all,
a tuning step trains the seed's architecture, each with its loss and a step of the recipe's
optimizer, at the size and batch that the recipe gives search and tuning. ``--devices`` shares the
batch out as several devices would; ``--batch`` says what one holds.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fnac.adaptation.plan import Plan
from fnac.adaptation.settings import one_task, recipe_for
from fnac.config import parse_size
from fnac.data.sets.joints import MPII
from fnac.importer import ImportedModule, import_onnx
from fnac.models.recipes import recipe_names
from fnac.passes.emit.anchors import AnchorSpec
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.stored_layers import read_layers, seed_arch
from fnac.passes.super_network.choose import choose
from fnac.search.settings import SearchSettings
from fnac.stages.expand import expand
from fnac.stages.export import export_seed
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.base import Task
from fnac.tasks.detection.task import Detection
from fnac.tasks.pose.task import Pose
from fnac.tasks.segmentation import Segmentation
from fnac.training.optimizers import make_optimizer
from fnac.training.settings import OptimizerSettings

Size = tuple[int, int]
Rows = Iterator[tuple[str, Callable[[torch.dtype], None]]]


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
    """Return a task and targets for ``batch`` images of ``size``."""
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


def networks(plan: Plan, size: Size | None) -> tuple[Graph, Graph]:
    """Return a recipe's super network and its seed alone."""
    seed = export_seed(dataclasses.replace(plan.export, weights="none"))
    how = dataclasses.replace(plan.expand, size=size or plan.expand.size)
    mixed = expand(seed, how, manager=PassManager(verify=False))
    alone = mixed.copy()
    choose(alone, seed_arch(read_layers(mixed.manifest)))
    return mixed, alone


class Steps:
    """The steps of one stage: a network, its batch, its optimizers."""

    def __init__(self, graph: Graph, task: str, batch: int, size: Size, device: torch.device):
        self.size, self.device = size, device
        self.task, targets = made_up(task, graph, batch, size)
        self.images, self.targets = torch.randn(batch, 3, *size, device=device), targets.to(device)
        self.module: ImportedModule = import_onnx(graph.to_model()).to(device).train()
        self.alphas = [point.alpha for point in self.module.choice_points]

    def optimizer(self, settings: OptimizerSettings) -> torch.optim.Optimizer:
        """Return the recipe's optimizer of the weights; small steps: only their time counts."""
        slow = dataclasses.replace(settings, lr=1e-9, head_lr=None, lr_batch=None)
        module = self.module
        return make_optimizer(slow, module.backbone_parameters(), module.head_parameters())

    def step(self, optimizer: torch.optim.Optimizer, precision: torch.dtype) -> None:
        """Take one: forward, loss, backward, the optimizer's step."""
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            outputs = self.module(self.images)
        self.task.loss(outputs, self.targets, self.size).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def one_path(self) -> None:
        """Sample the path of a weight step."""
        self.module.choose([int(torch.randint(0, len(a), ())) for a in self.alphas])

    def all_paths(self) -> None:
        """Mix all paths, as an alpha step does; only the alphas are trained."""
        self.module.mix()
        for weight in (*self.module.backbone_parameters(), *self.module.head_parameters()):
            weight.requires_grad_(False)


def search_rows(steps: Steps, settings: SearchSettings) -> Rows:
    """Yield the weight step and the alpha step of a search, each ready to be taken."""
    weights = steps.optimizer(settings)

    def weight_step(precision: torch.dtype) -> None:
        steps.one_path()
        steps.step(weights, precision)

    yield "weight step", weight_step
    steps.all_paths()
    alphas = torch.optim.Adam(steps.alphas, 1e-9)
    yield "alpha step", lambda precision: steps.step(alphas, precision)


def tune_rows(steps: Steps, settings: TuneSettings) -> Rows:
    """Yield the tuning step of a target as large as the seed."""
    optimizer = steps.optimizer(settings)
    yield "tuning step", lambda precision: steps.step(optimizer, precision)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--size", type=parse_size, help="default: the recipe's")
    parser.add_argument("--devices", type=int, default=1, help="share the batch out to so many")
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
        plan = Plan.of(recipe)
        mixed, alone = networks(plan, given.size)
        for graph, rows, how in ((mixed, search_rows, plan.search), (alone, tune_rows, plan.tune)):
            size = given.size or how.crop or how.whole_size(graph.manifest)
            batch = given.batch or max(1, how.batch_size // given.devices)
            steps = Steps(graph, plan.adapt.task, batch, size, device)
            for what, step in rows(steps, how):
                for precision in (torch.float32, torch.bfloat16):
                    row = f"| {name} | {size[0]}x{size[1]} | {batch} | {what} | {precision} |"
                    try:
                        seconds, memory = measure(lambda: step(precision), device, given.rounds)  # noqa: B023
                        print(f"{row} {1000 * seconds:.1f} | {memory:.1f} |", flush=True)
                    except torch.cuda.OutOfMemoryError:
                        print(f"{row} out of memory | |", flush=True)


if __name__ == "__main__":
    main()
