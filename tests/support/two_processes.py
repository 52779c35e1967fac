"""Run by test_distributed.py under torchrun: search, then tune; each rank writes what it saw."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fnac.architectures.budget import CostLimit, parse_budget
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import choose
from fnac.search.sampler import PathSampler
from fnac.search.settings import SearchSettings
from fnac.stages import search as search_stage
from fnac.stages import tune as tune_stage
from fnac.tasks.segmentation import Segmentation
from fnac.training.weight_steps import WeightSteps
from tests.support.super_networks import CLASSES, SquaresSource


def main(folder: Path) -> None:
    """Search ``folder/super.onnx`` and tune one of its networks."""
    rank = int(os.environ["RANK"])
    seen: dict[str, Any] = {"paths": [], "batches": []}
    draw, step = PathSampler._draw, WeightSteps.step
    module: list[nn.Module] = []

    def drawing(self: PathSampler, alpha: torch.Tensor, count: int) -> list[int]:
        drawn = draw(self, alpha, count)
        seen["paths"].append(drawn)
        return drawn

    def stepping(self: WeightSteps, number: int, *batch: torch.Tensor) -> torch.Tensor:
        seen["batches"].append([len(batch[0]), round(float(batch[0].sum()), 3)])
        module[:] = [self.network]
        return step(self, number, *batch)

    PathSampler._draw, WeightSteps.step = drawing, stepping  # type: ignore[method-assign]
    common: dict[str, Any] = {
        "batch_size": 4, "lr": 0.05, "scale": (1.0, 1.0), "workers": 0, "device": "cpu",
    }  # fmt: skip
    task = Segmentation(CLASSES)
    search_stage.search(
        folder / "super.onnx",
        SquaresSource(),
        task,
        folder / "searched.onnx",
        folder / "search",
        SearchSettings(**common, epochs=5, warmup_epochs=2, alpha_grad="all"),
        limit=CostLimit(parse_budget("1x")),
    )
    seen["searched"] = digest(module[0])
    if rank == 0:
        graph = Graph.load(folder / "searched.onnx")
        choose(graph, ["k3e1", "k1e1", "k3e1"])
        graph.save(folder / "target.onnx")
    torch.distributed.barrier()
    tune_stage.tune(
        folder / "target.onnx",
        SquaresSource(),
        task,
        folder / "tuned.onnx",
        folder / "tune",
        tune_stage.TuneSettings(**common, epochs=2),
    )
    seen["tuned"] = digest(module[0])
    (folder / f"rank{rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


def digest(module: nn.Module) -> str:
    """Return a hash of all parameters (alphas among them)."""
    content = hashlib.sha256()
    for parameter in module.parameters():
        content.update(parameter.detach().cpu().numpy().tobytes())
    return content.hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
