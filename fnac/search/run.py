"""One search run: its two data halves, its steps, its checkpoints, its outcome."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnac.architectures.budget import say
from fnac.architectures.costs import SpaceCosts, space_costs
from fnac.config import as_plain
from fnac.data.loader import split
from fnac.data.source import DataSource
from fnac.errors import UnsupportedGraphError
from fnac.findings import FINDINGS, written
from fnac.importer import ImportedModule, import_onnx
from fnac.passes.graph import Graph
from fnac.search.alpha_steps import AlphaSteps
from fnac.search.health import learning_finding, mean_entropy, softmax_rows
from fnac.search.outcome import Ended, SearchResult
from fnac.search.sampler import PathSampler
from fnac.search.settings import SearchSettings
from fnac.search.steering import Steering
from fnac.tasks.base import Task
from fnac.training.loop import METRICS, Setup, TrainingRun
from fnac.training.objectives import open_objective
from fnac.training.runtime import open_fabric, training_loader

logger = logging.getLogger(__name__)

ALPHAS = "alphas"
COLUMNS = (
    "step", "epoch", "phase", "kind", "loss", "sampled_madds", "expected_madds", "budget_madds",
    "lambda", "entropy", "lr",
)  # fmt: skip
ALPHA_COLUMNS = ("step", "layer", "candidate", "alpha", "probability")


class SearchRun(TrainingRun):
    """One search: weights and alphas alternately, each on its half of the training set."""

    stage = "search"
    streams = 2
    settings: SearchSettings

    def __init__(
        self,
        graph: Graph,
        space: SpaceCosts,
        budget: int | None,
        source: DataSource,
        task: Task,
        folder: Path,
        settings: SearchSettings,
        baseline: Path | None = None,
    ) -> None:
        self.space, self.budget, self.madds = space, budget, space_costs(graph.manifest)
        module = import_onnx(graph.to_model())
        _check_layers(module, space)
        fabric = open_fabric(settings, single_paths=True)
        halves = split(source.split("train"), settings.split, settings.random_seed)
        weight_data, self.alpha_data = (
            training_loader(
                half, task, graph.manifest, settings, fabric, 2 * settings.random_seed + number
            )
            for number, half in enumerate(halves)
        )
        self.plan = settings.plan(weight_data.batches_per_epoch)
        identity = {**as_plain(settings), "budget": budget, "unit": space.unit}
        super().__init__(
            Setup(
                graph=graph,
                module=module,
                objective=open_objective(task, settings, graph.manifest, fabric.device, baseline),
                folder=folder,
                settings=settings,
                fabric=fabric,
                loader=weight_data,
                total=self.plan.total,
                identity=identity,
            )
        )
        self.sampler = PathSampler(settings.random_seed)
        self.alphas = AlphaSteps(
            fabric,
            self.weights.network,
            self.module,
            settings,
            task,
            space,
            self.sampler,
            steps=self.plan.alpha_steps,
        )
        self.lambda_ = settings.lambda_ or 0.0
        self.steering: Steering | None = None

    # ------------------------------------------------------------------ begin, resume, save

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the columns of metrics.csv and alphas.csv."""
        return {METRICS: COLUMNS, ALPHAS: ALPHA_COLUMNS}

    def begin(self) -> None:
        """Start from the file's weights, with alphas of 1e-3 * randn."""
        generator = torch.Generator("cpu").manual_seed(self.settings.random_seed)
        with torch.no_grad():
            for alpha in self.alphas.alphas:
                alpha.copy_(1e-3 * torch.randn(alpha.shape, generator=generator))
        if self.settings.lambda_ is None and self.settings.train_alphas:
            self._steer_from(self.alphas.expected())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the alphas' optimiser, paths and steering from a checkpoint."""
        self.alphas.optimizer.load_state_dict(state["alphas"])
        self.sampler.load_state_dict(state["sampler"])
        self.alphas.halves.copy_(state["halves"])
        self.lambda_ = float(state["lambda"])
        if state["steer_from"] is not None:
            self._steer_from(float(state["steer_from"]))

    def state(self) -> dict[str, Any]:
        """Return alphas' optimiser, paths and steering."""
        return {
            "lambda": self.lambda_,
            "steer_from": None if self.steering is None else self.steering.start,
            "alphas": self.alphas.optimizer.state_dict(),
            "halves": self.alphas.halves,
            "sampler": self.sampler.state_dict(),
        }

    def _steer_from(self, expected: float) -> None:
        assert self.budget is not None, "only a fixed lambda goes without a budget"
        self.steering = Steering(
            self.space,
            self.budget,
            start=expected,
            steps=self.plan.alpha_steps,
            reach=self.settings.steer_reach,
        )

    # ------------------------------------------------------------------ steps

    def train(self) -> None:
        """Take all remaining steps."""
        done = self.plan.alpha_steps_before(self.first)
        self.alpha_batches = self.alpha_data.iterate(done, self.plan.alpha_steps)
        super().train()

    def step(self, step: int, images: Tensor, truths: Tensor) -> None:
        """Take a weight step on one path; after the warm-up an alpha step may follow it."""
        warm = step < self.plan.warmup
        sizes = [len(alpha) for alpha in self.alphas.alphas]
        path = self.sampler.uniform(sizes) if warm else self.sampler.multinomial(self.alphas.alphas)
        for point, index in zip(self.alphas.points, path, strict=True):
            point.choose(index)
        loss = self.weights.step(step, images, truths)
        self.trace.add(
            loss,
            step=step + 1,
            epoch=self.epoch(step),
            phase="warmup" if warm else "search",
            kind="weights",
            sampled_madds=self.madds.total(path),
            budget_madds=self._budget_madds(),
            lr=self.weights.lr,
        )
        if self.plan.has_alpha_step(step):
            self._alpha_step(step)

    def phase(self, step: int) -> str:
        """Return the part of the search: alphas rest in its warm-up."""
        part = "warm-up" if step < self.plan.warmup else "alphas"
        return f"{super().phase(step)}, {part}"

    def kind(self, step: int) -> str:
        """Return whether an alpha step follows the weight step."""
        return "with an alpha step" if self.plan.has_alpha_step(step) else ""

    def figures(self) -> dict[str, float | str]:
        """Return the expected cost, and the budget that it is steered to."""
        unit = self.space.unit
        limit = "" if self.budget is None else f" of {say(self.budget, unit)}"
        return {"expected": f"{say(self.alphas.expected(), unit)}{limit}"}

    def _alpha_step(self, step: int) -> None:
        number = self.plan.alpha_steps_before(step)
        self.reseed(step, stream=1)
        batch = self.on_device(next(self.alpha_batches))
        outcome = self.alphas.step(number, *batch, self.steering)
        self.lambda_ = outcome.lambda_
        probabilities = softmax_rows(self.alphas.rows())
        self.trace.add(
            outcome.loss,
            step=step + 1,
            epoch=self.epoch(step),
            phase="search",
            kind="alphas",
            expected_madds=round(self.madds.expected([row.tolist() for row in probabilities])),
            budget_madds=self._budget_madds(),
            entropy=mean_entropy(probabilities),
            lr=self.alphas.lr,
            **{"lambda": outcome.lambda_},
        )
        every = self.settings.alphas_every or max(1, self.plan.alpha_steps // 100)
        if number % every == 0 or number == self.plan.alpha_steps - 1:
            self._log_alphas(step + 1)

    def _log_alphas(self, step: int) -> None:
        rows = self.alphas.rows()
        for layer, row, share in zip(self.space.layers, rows, softmax_rows(rows), strict=True):
            for name, alpha, p in zip(layer.candidates, row, share, strict=True):
                self.logs[ALPHAS].row(
                    step=step,
                    layer=layer.name,
                    candidate=name,
                    alpha=float(alpha),
                    probability=float(p),
                )

    def _losses(self) -> list[float]:
        """Return the losses of the weight steps; the first process has them."""
        return [float(row["loss"]) for row in self.trace.rows() if row["kind"] == "weights"]

    def _budget_madds(self) -> int | None:
        return self.budget if self.space.unit == "madds" else None

    # ------------------------------------------------------------------ the outcome

    def finish(self, output: Path) -> SearchResult:
        """Judge the outcome, report findings, write the trained super network."""
        led = None if self.steering is None else self.alphas.led()
        ended = Ended(
            alphas=self.alphas.rows(),
            led=led,
            space=self.space,
            budget=self.budget,
            plan=self.plan,
            use_at_least=self.settings.use_at_least,
            lambda_=self.lambda_,
            agreement=self.alphas.agreement(),
            loss=self.trace.last,
        )
        result = ended.result(output)
        findings = result.findings
        if not self.settings.train_alphas:  # they say nothing, and are not asked
            findings = ()
        if (learning := learning_finding(self._losses())) is not None:
            findings = (*findings, learning)
        result = dataclasses.replace(result, findings=findings)
        if self.fabric.is_global_zero:
            for finding in result.findings:
                logger.warning("search: %s", finding)
        shares = [row.tolist() for row in softmax_rows(self.alphas.rows())]
        entry = {
            **result.as_json(),
            "expected_madds": round(self.madds.expected(shares)),
            "led": None if led is None else [row.tolist() for row in led],
        }
        self.write(output, {self.stage: entry, FINDINGS: written(result.findings)})
        return result


def _check_layers(module: ImportedModule, space: SpaceCosts) -> None:
    sizes = [len(alpha) for alpha in module.alphas()]
    counts = [len(layer.candidates) for layer in space.layers]
    if sizes != counts:
        raise UnsupportedGraphError(
            f"the graph has {len(sizes)} choice points with {sizes} candidates; its manifest names "
            f"{len(counts)} layers with {counts}; expand the seed again"
        )
