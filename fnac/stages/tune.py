"""``tune``: parameter adaptation. Trains the weights of any ONNX network on a data set.

Reads an ONNX file, leaves one with the same nodes and names and new weights. A run that was killed
continues from its last checkpoint, bit-identical to an unbroken one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fnac.config import as_plain
from fnac.data.batches import size_of_data
from fnac.data.loader import split
from fnac.data.preprocessing import manifest_size
from fnac.data.source import Dataset, DataSource
from fnac.errors import UsageError
from fnac.importer import ImportedModule, import_onnx
from fnac.passes.graph import Graph
from fnac.stages.evaluate import Feeding, evaluate_module
from fnac.stages.opening.as_trained import state_training
from fnac.stages.opening.pairs import check_pair
from fnac.stages.opening.probabilities import check_no_probabilities
from fnac.stages.opening.task_head import OWN_HEAD
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.base import Task
from fnac.tasks.network_check import check_logits, check_pictures
from fnac.training.kept_weights import KeptWeights
from fnac.training.loop import METRICS, Setup, TrainingRun
from fnac.training.mixing import open_mixing
from fnac.training.objectives import open_objective
from fnac.training.runtime import open_fabric, same_buffers, training_loader
from fnac.training.settings import for_batch

logger = logging.getLogger(__name__)

COLUMNS = ("step", "epoch", "loss", "lr", "head_lr")


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """Outcome of tuning: steps taken, last loss, and which weights were written: best or last.

    ``val``: validation metric of these weights in percent; None where there is no validation set.
    ``held``: the same on the part of the training set held back; None where none is.
    """

    output: Path
    steps: int
    loss: float
    val: float | None
    weights: str
    held: float | None


def tune(
    model: Path,
    source: DataSource,
    task: Task,
    output: Path,
    folder: Path,
    settings: TuneSettings,
    *,
    baseline: Path | None = None,
    resume: bool = False,
    loaded: Graph | None = None,
) -> TuneResult:
    """Train the network of ``model`` and write it to ``output``.

    baseline  the file that ``teacher: baseline`` means
    folder    gets ``last.ckpt`` and ``metrics.csv``; with ``resume`` its checkpoint is continued
    loaded    what ``model`` holds, where it is loaded already; it is trained
    raises    UsageError for a super network or other classes, TrainingError when training fails
    """
    run = open_tuning(model, source, task, folder, settings, baseline=baseline, loaded=loaded)
    run.open(resume=resume)
    run.train()
    return run.finish(output)


def open_tuning(
    model: Path,
    source: DataSource,
    task: Task,
    folder: Path,
    settings: TuneSettings,
    *,
    baseline: Path | None = None,
    loaded: Graph | None = None,
) -> TuneRun:
    """Return a fine-tuning that has not begun; see :func:`tune`."""
    graph = Graph.load(model) if loaded is None else loaded
    if settings.size is None and manifest_size(graph.manifest) is None:
        size = graph.image_size() or size_of_data(source.split("train"), task.name)
        settings = dataclasses.replace(settings, size=size)
    state_training(graph, task, settings.size, settings.mean, settings.std)
    module = _trainable(graph, task, model, settings.size or graph.image_size())
    settings = for_batch(settings, settings.batch_size)
    return TuneRun(graph, module, source, task, folder, settings, baseline)


class TuneRun(TrainingRun):
    """One fine-tuning of a network, measured on the validation set at intervals."""

    stage = "tune"
    settings: TuneSettings

    def __init__(
        self,
        graph: Graph,
        module: ImportedModule,
        source: DataSource,
        task: Task,
        folder: Path,
        settings: TuneSettings,
        baseline: Path | None = None,
    ) -> None:
        fabric = open_fabric(settings)
        self.task, self.source = task, source
        train = source.split("train")
        self.held: Dataset | None = None
        if settings.held_out:
            train, self.held = split(train, 1 - settings.held_out, settings.random_seed)
        loader = training_loader(
            train, task, graph.manifest, settings, fabric, settings.random_seed
        )
        total = settings.steps or settings.epochs * loader.batches_per_epoch
        objective = open_objective(task, settings, graph.manifest, fabric.device, baseline)
        self.mixing = open_mixing(
            task,
            mixup=settings.mixup,
            cutmix=settings.cutmix,
            mosaic=settings.mosaic,
            images=settings.batch_size // fabric.world_size,
        )
        identity = as_plain(settings)
        super().__init__(
            Setup(
                graph=graph,
                module=module,
                objective=objective,
                folder=folder,
                settings=settings,
                fabric=fabric,
                loader=loader,
                total=total,
                identity=identity,
            )
        )
        chooses = self.held is not None
        self.kept = KeptWeights(self.module, settings, higher=True, chooses=chooses)
        self.before: float | None = None
        self.val: float | None = None
        self.val_of_kept: float | None = None
        self.validation = source.split("val") if "val" in source.splits else None
        if settings.cache:
            still = dataclasses.replace(settings, scale=(1.0, 1.0))  # is measured at one scale
            if self.held is not None:
                self.held = task.cached(self.held, still, graph.manifest, measured=True)
            if self.validation is not None:
                self.validation = task.cached(self.validation, still, graph.manifest, measured=True)

    # ------------------------------------------------------------------ begin, resume, save

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the columns of metrics.csv."""
        held = () if self.held is None else (self._column("held"),)
        return {METRICS: (*COLUMNS, self._column("val"), *held)}

    def _column(self, part: str) -> str:
        return f"{part}_{self.task.metric}"

    def open(self, *, resume: bool) -> None:
        """Continue or begin; then freeze BN if asked for."""
        super().open(resume=resume)
        if self.settings.freeze_bn:
            freeze_bn(self.module)

    def begin(self) -> None:
        """Start from the file's weights, with BN statistics recalibrated if asked for."""
        if self.settings.recalibrate_bn:
            batches = self.loader.iterate(0, self.settings.recalibrate_bn)
            recalibrate_bn(self.module, (self.on_device(batch)[0] for batch in batches))
            same_buffers(self.fabric, self.module)
        if self.settings.measure_start:
            self.before = self._measure(self.validation)
        self.kept.begin()

    def state(self) -> dict[str, Any]:
        """Return the metrics, and the weights that are kept."""
        measured = {"before": self.before, "val": self.val, "val_of_kept": self.val_of_kept}
        return {**measured, "kept": self.kept.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take metrics and kept weights from a checkpoint."""
        self.val, self.val_of_kept = state["val"], state["val_of_kept"]
        self.before = state["before"]
        self.kept.restore(state["kept"])

    # ------------------------------------------------------------------ steps

    def step(self, step: int, images: Tensor, truths: Tensor) -> None:
        """Take a weight step."""
        if self.mixing is not None:
            images, truths = self.mixing(images, truths)
        loss = self.weights.step(step, images, truths)
        self.kept.update()
        rates = {"lr": self.weights.lr, "head_lr": self.weights.head_lr}
        self.trace.add(loss, step=step + 1, epoch=self.epoch(step), **rates)

    def after_step(self, done: int) -> None:
        """Measure the network at the end, and every few epochs."""
        if not self.is_epoch_over(done):
            return
        epoch = self.epoch(done - 1)
        if done != self.total and (epoch + 1) % self.settings.eval_every:
            return
        with self.kept.averaged():
            held = self._measure(self.held)
            self.val = self._measure(self.validation)
            if held is None or self.kept.offer(held, done):
                self.val_of_kept = self.val
        if self.settings.freeze_bn:  # back in training mode, and so was BN
            freeze_bn(self.module)
        shown = {self._column("val"): self.val, self._column("held"): held}
        shown = {column: value for column, value in shown.items() if value is not None}
        if shown:
            self.trace.row(step=done, epoch=epoch, **shown)

    def is_enough(self) -> bool:
        """Say whether the metric has not risen for longer than the patience."""
        return self.kept.is_enough()

    def figures(self) -> dict[str, float | str]:
        """Return the last metric."""
        return {} if self.val is None else {self.task.metric: f"{self.val:.1f}"}

    def _measure(self, dataset: Dataset | None) -> float | None:
        """Measure the metric in percent on the first rank, and send it to the others."""
        if dataset is None:
            return None
        value: float | None = None
        if self.fabric.is_global_zero:
            value = evaluate_module(
                self.module,
                self.source,
                self.task,
                size=self.settings.whole_size(self.graph.manifest),
                manifest=self.graph.manifest,
                dataset=dataset,
                feeding=Feeding(
                    batch_size=max(1, self.settings.batch_size // self.fabric.world_size),
                    workers=self.settings.workers,
                    shown=False,
                ),
            ).value
        return self.fabric.broadcast(value)

    # ------------------------------------------------------------------ the outcome

    def finish(self, output: Path) -> TuneResult:
        """Write the network with the weights that are kept."""
        weights = self.kept.choose(self.done)
        val = self.val_of_kept if weights["weights"] == "best" else self.val
        entry = {"steps": self.done, "val": val, "metric": self.task.metric, **weights}
        if self.before is not None:
            entry["before"] = self.before
        if self.settings.teacher is not None:
            entry["teacher"] = self.settings.teacher
        self.write(output, {self.stage: entry})
        held = self.kept.value if self.held is not None else None
        return TuneResult(output, self.done, self.trace.last, val, weights["weights"], held)


def _trainable(
    graph: Graph, task: Task, model: Path, size: tuple[int, int] | None
) -> ImportedModule:
    """Import the network of ``model``; UsageError where it cannot be tuned for ``task``."""
    graph.check_finite()
    task.check_network(graph.manifest)
    check_pictures(graph)
    check_logits(graph, task.name)
    if any(node.op == "QuantizeLinear" for node in graph.nodes):
        logger.warning(
            "activations are quantized, and rounding has no gradient: layers before the last "
            "quantized one are not trained; run fnac run-pass open-activations first"
        )
    module = import_onnx(graph.to_model())
    if module.choice_points:
        raise UsageError(
            f"{model}: it is a super network ({len(module.choice_points)} choice points); derive "
            "an architecture first (`fnac derive`)"
        )
    check_pair(module, graph)
    if graph.manifest.get("head") in (None, OWN_HEAD):  # heads of fnac output logits
        check_no_probabilities(module, graph.outputs[0].name, task.name, size)
    return module


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the batch normalisations of ``module``."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze_bn(module: nn.Module) -> None:
    """Set BN to evaluation mode and stop training its parameters."""
    for norm in batch_norms(module):
        norm.eval()
        norm.requires_grad_(False)


def recalibrate_bn(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recalibrate the BN statistics of ``module`` on ``batches`` of images; weights stay."""
    norms = batch_norms(module)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for images in batches:
            module(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
