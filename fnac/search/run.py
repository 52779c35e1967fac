"""One search run: its two data halves, its steps, its checkpoints, its outcome."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnac.architectures.budget import say
from fnac.architectures.costs import SpaceCosts, space_costs
from fnac.config import as_plain
from fnac.data.loader import EpochLoader, split
from fnac.data.source import DataSource
from fnac.errors import UnsupportedGraphError
from fnac.importer import ImportedModule, import_onnx, write_back
from fnac.passes.graph import Graph
from fnac.progress import StepProgress
from fnac.search.alpha_steps import AlphaSteps
from fnac.search.health import mean_entropy
from fnac.search.outcome import SearchResult, judge
from fnac.search.sampler import PathSampler
from fnac.search.settings import SearchSettings
from fnac.search.steering import Steering, softmax_rows
from fnac.tasks.base import Task
from fnac.training.checkpoints import (
    fingerprint,
    load_checkpoint,
    load_network,
    restore_precision,
    save_checkpoint,
)
from fnac.training.run_log import CsvLog, LossTrace
from fnac.training.runtime import open_fabric, prepare_module, seed_step, training_loader
from fnac.training.weight_steps import open_weight_steps, to_device

logger = logging.getLogger(__name__)

METRICS = (
    "step", "epoch", "phase", "kind", "loss", "sampled_madds", "expected_madds", "budget_madds",
    "lambda", "entropy", "lr",
)  # fmt: skip
ALPHAS = ("step", "layer", "candidate", "alpha", "probability")


class SearchRun:
    """One search: what it trains, where it is, how it is saved."""

    def __init__(
        self,
        graph: Graph,
        space: SpaceCosts,
        budget: int | None,
        source: DataSource,
        task: Task,
        folder: Path,
        settings: SearchSettings,
    ) -> None:
        self.graph, self.space, self.budget, self.settings = graph, space, budget, settings
        self.madds = space_costs(graph.manifest)
        self.folder, self.checkpoint = folder, folder / "last.ckpt"
        self.task = task
        module = import_onnx(graph.to_model())
        _check_layers(module, space)
        self.fabric = open_fabric(settings, single_paths=True)
        whole = source.split("train")
        halves = split(whole, settings.split, settings.random_seed)
        self.weight_data, self.alpha_data = (self._loader(half, i) for i, half in enumerate(halves))
        self.plan = settings.plan(self.weight_data.batches_per_epoch)
        self.module: ImportedModule = prepare_module(module, self.fabric, settings)  # type: ignore
        self.weights = open_weight_steps(
            self.fabric,
            self.module,
            module.backbone_parameters(),
            module.head_parameters(),
            settings,
            task,
            self.plan.total,
            self.weight_data.batches_per_epoch,
        )
        self.sampler = PathSampler(settings.random_seed)
        self.alphas = AlphaSteps(
            self.fabric,
            self.weights.network,
            self.module,
            settings,
            task,
            space,
            self.sampler,
            steps=self.plan.alpha_steps,
        )
        self.start, self.lambda_ = 0, settings.lambda_ or 0.0
        self.steering: Steering | None = None
        self.identity = {
            **as_plain(settings),
            "steps": self.plan.total,
            "budget": budget,
            "unit": space.unit,
            "network": "search",
        }

    def _loader(self, half: Any, number: int) -> EpochLoader:
        seed = 2 * self.settings.random_seed + number
        return training_loader(
            half, self.task, self.graph.manifest, self.settings, self.fabric, seed
        )

    # ------------------------------------------------------------------ begin, resume, save

    def begin(self) -> None:
        """Start from the file's weights, with alphas of 1e-3 * randn."""
        generator = torch.Generator("cpu").manual_seed(self.settings.random_seed)
        with torch.no_grad():
            for alpha in self.alphas.alphas:
                alpha.copy_(1e-3 * torch.randn(alpha.shape, generator=generator))
        if self.settings.lambda_ is None:
            self._steer_from(self.alphas.expected())
        if self.fabric.is_global_zero:
            self.checkpoint.unlink(missing_ok=True)  # of another run, not to be resumed
        self._open_logs(None, None)

    def resume(self) -> None:
        """Continue from the checkpoint."""
        state = load_checkpoint(self.checkpoint, self.identity)
        load_network(self.checkpoint, self.module, state["network"])
        self.weights.optimizer.load_state_dict(state["weights"])
        self.alphas.optimizer.load_state_dict(state["alphas"])
        restore_precision(self.fabric, state)
        self.sampler.load_state_dict(state["sampler"])
        self.alphas.halves.copy_(state["halves"])
        self.start, self.lambda_ = int(state["step"]), float(state["lambda"])
        if state["steer_from"] is not None:
            self._steer_from(float(state["steer_from"]))
        self._open_logs(state["metrics_size"], state["alphas_size"])
        self.trace.last = float(state["loss"])
        logger.info("search: resumed at step %d of %d", self.start, self.plan.total)

    def _steer_from(self, expected: float) -> None:
        assert self.budget is not None, "only a fixed lambda goes without a budget"
        self.steering = Steering(
            self.space,
            self.budget,
            start=expected,
            steps=self.plan.alpha_steps,
            reach=self.settings.steer_reach,
        )

    def _open_logs(self, metrics: int | None, alphas: int | None) -> None:
        first = self.fabric.is_global_zero
        self.trace = LossTrace(
            CsvLog(self.folder / "metrics.csv" if first else None, METRICS, metrics)
        )
        self.alpha_log = CsvLog(self.folder / "alphas.csv" if first else None, ALPHAS, alphas)

    def _save(self, step: int) -> None:
        metrics_size, alphas_size = self.trace.flush(), self.alpha_log.flush()
        content = {
            "settings": fingerprint(self.identity),
            "step": step,
            "loss": self.trace.last,
            "lambda": self.lambda_,
            "steer_from": None if self.steering is None else self.steering.start,
            "metrics_size": metrics_size,
            "alphas_size": alphas_size,
            "network": self.module.state_dict(),
            "weights": self.weights.optimizer.state_dict(),
            "alphas": self.alphas.optimizer.state_dict(),
            "halves": self.alphas.halves,
            "sampler": self.sampler.state_dict(),
        }
        save_checkpoint(self.fabric, self.checkpoint, content)

    # ------------------------------------------------------------------ steps

    def train(self) -> None:
        """Take every step that is left."""
        plan, per_epoch = self.plan, self.weight_data.batches_per_epoch
        weight_batches = self.weight_data.iterate(self.start, plan.total)
        alpha_batches = self.alpha_data.iterate(
            plan.alpha_steps_before(self.start), plan.alpha_steps
        )
        shown = self.fabric.is_global_zero
        with StepProgress("search", plan.total, start=self.start, shown=shown) as progress:
            for step, batch in enumerate(weight_batches, self.start):
                self._weight_step(step, self._to_device(batch))
                if plan.has_alpha_step(step):
                    self._alpha_step(step, alpha_batches)
                done = step + 1
                over = done == plan.total or done % per_epoch == 0
                if over or done % self.settings.log_every == 0:
                    cost = say(self.alphas.expected(), self.space.unit)
                    progress.figures(loss=self.trace.read(), expected=cost)
                progress.advance(done)
                if over or done % self.settings.checkpoint_every == 0:
                    self._save(done)

    def _weight_step(self, step: int, batch: tuple[Tensor, Tensor]) -> None:
        warm = step < self.plan.warmup
        sizes = [len(alpha) for alpha in self.alphas.alphas]
        path = self.sampler.uniform(sizes) if warm else self.sampler.multinomial(self.alphas.alphas)
        for point, index in zip(self.alphas.points, path, strict=True):
            point.choose(index)
        seed_step(self.settings.random_seed, 2 * step, self.fabric.global_rank)
        loss = self.weights.step(step, *batch)
        self.trace.add(
            loss,
            step=step + 1,
            epoch=step // self.weight_data.batches_per_epoch,
            phase="warmup" if warm else "search",
            kind="weights",
            sampled_madds=self.madds.total(path),
            budget_madds=self._budget_madds(),
            lr=self.weights.lr,
        )

    def _alpha_step(self, step: int, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        number = self.plan.alpha_steps_before(step)
        seed_step(self.settings.random_seed, 2 * step + 1, self.fabric.global_rank)
        outcome = self.alphas.step(number, *self._to_device(next(batches)), self.steering)
        self.lambda_ = outcome.lambda_
        probabilities = softmax_rows(self.alphas.rows())
        self.trace.add(
            outcome.loss,
            step=step + 1,
            epoch=step // self.weight_data.batches_per_epoch,
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
                self.alpha_log.row(
                    step=step,
                    layer=layer.name,
                    candidate=name,
                    alpha=float(alpha),
                    probability=float(p),
                )

    def _budget_madds(self) -> int | None:
        return self.budget if self.space.unit == "madds" else None

    def _to_device(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return to_device(self.fabric, batch, self.settings.channels_last)

    # ------------------------------------------------------------------ the outcome

    def finish(self, output: Path) -> SearchResult:
        """Judge the outcome, say what is wrong with it, write the trained super network."""
        led = None if self.steering is None else self.alphas.led()
        result = judge(
            self.alphas.rows(),
            self.space,
            self.budget,
            output=output,
            plan=self.plan,
            use_at_least=self.settings.use_at_least,
            lambda_=self.lambda_,
            agreement=self.alphas.agreement(),
            loss=self.trace.last,
            led=led,
        )
        if self.fabric.is_global_zero:
            for warning in result.warnings:
                logger.warning("search: %s", warning)
            trained = Graph.from_model(write_back(self.module.cpu(), self.graph.to_model()))
            expected = self.madds.expected(
                [row.tolist() for row in softmax_rows(self.alphas.rows())]
            )
            trained.manifest["search"] = {
                **result.as_json(),
                "expected_madds": round(expected),
                "led": None if led is None else [row.tolist() for row in led],
            }
            trained.save(output)
        self.fabric.barrier()
        return result


def _check_layers(module: ImportedModule, space: SpaceCosts) -> None:
    sizes = [len(alpha) for alpha in module.alphas()]
    wanted = [len(layer.candidates) for layer in space.layers]
    if sizes != wanted:
        raise UnsupportedGraphError(
            f"the graph has {len(sizes)} choice points with {sizes} candidates; its manifest names "
            f"{len(wanted)} layers with {wanted}; expand the seed again"
        )
