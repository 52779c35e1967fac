"""``heal``: train a changed network towards its original's outputs. No labels, any outputs.

Reads the changed network (the student) and its original (the teacher), leaves the student with the
same nodes and names and new weights. What both say in front of any selection is compared, on the
same images; the weights that come nearest on images held back are written, which may be those
that it began with. A run that was killed continues from its last checkpoint and ends with the same
bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnac.config import as_plain
from fnac.data.loader import EpochLoader, split
from fnac.data.source import IGNORE, Dataset, Sample
from fnac.errors import UsageError
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.passes.heads.raw_outputs import with_raw_outputs
from fnac.passes.normalize.make_batch_symbolic import MakeBatchSymbolic
from fnac.stages.heal_settings import HealSettings
from fnac.tasks.network_check import check_pictures
from fnac.tasks.segmentation import Segmentation
from fnac.training.imitation import Imitation
from fnac.training.kept_weights import KeptWeights
from fnac.training.loop import METRICS, Setup, TrainingRun
from fnac.training.runtime import open_fabric, same_buffers, training_loader
from fnac.training.settings import for_batch
from fnac.training.teacher import Teacher

logger = logging.getLogger(__name__)

COLUMNS = ("step", "epoch", "loss", "lr", "error")
PICTURES = Segmentation(("nothing",))
"""How unlabelled images are prepared: as those of a task without anything to find."""
UNIT_PICTURES = 64
LEAST_SHARE = 0.05
GOOD = 0.25
"""Error at the start below which BN's statistics are kept, if nothing is said of them."""


@dataclasses.dataclass(frozen=True)
class HealPoint:
    """The student's error on the held-out images, in total and in each output."""

    epoch: int
    error: float
    outputs: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class HealResult:
    """The healed network, which weights were kept, and the errors from before the first step."""

    graph: Graph
    curve: tuple[HealPoint, ...]
    weights: Mapping[str, Any]

    @property
    def start(self) -> float:
        """Error before the first step."""
        return self.curve[0].error

    @property
    def error(self) -> float:
        """Error of the weights that were kept."""
        return float(self.weights["error"])

    def as_json(self) -> dict[str, Any]:
        """Return start, error and curve."""
        return {
            "start": self.start,
            "error": self.error,
            "weights": dict(self.weights),
            "curve": [dataclasses.asdict(point) for point in self.curve],
        }


def heal(
    student: Graph | Path,
    teacher: Graph | Path,
    pictures: Dataset,
    settings: HealSettings,
    folder: Path,
    *,
    output: Path | None = None,
    resume: bool = False,
) -> HealResult:
    """Train ``student`` towards the outputs of ``teacher`` on ``pictures``, without labels.

    folder  gets ``last.ckpt`` and ``metrics.csv``; with ``resume`` its checkpoint is continued
    output  where the healed network is written; None: nowhere
    raises  UnsupportedGraphError where nothing can be trained, UsageError for a teacher of other
            outputs, TrainingError when training fails
    """
    graph = student if isinstance(student, Graph) else Graph.load(student)
    original = teacher if isinstance(teacher, Graph) else Graph.load(teacher)
    name = "the original" if isinstance(teacher, Graph) else str(teacher)
    settings = for_batch(settings, settings.batch_size)
    run = HealRun(graph, original, name, pictures, folder, settings)
    run.open(resume=resume)
    run.train()
    return run.finish(output)


class HealRun(TrainingRun):
    """One healing: train towards another network's outputs, measured on held-out images."""

    stage = "heal"
    settings: HealSettings
    objective: Imitation

    def __init__(
        self,
        graph: Graph,
        original: Graph,
        name: str,
        pictures: Dataset,
        folder: Path,
        settings: HealSettings,
    ) -> None:
        graph.check_finite()
        check_pictures(graph)
        size = settings.size or graph.image_size()
        if size is None:
            raise UsageError("the network's image size is not known; give --size HxW")
        settings = dataclasses.replace(settings, size=size)
        fabric = open_fabric(settings)
        ended, raw = with_raw_outputs(_any_batch(graph))
        model, _ = with_raw_outputs(_any_batch(original))
        objective = Imitation(raw, Teacher(model, name, graph.manifest, fabric.device))
        if len(pictures) < 2:
            raise UsageError(f"{len(pictures)} images: wanted at least two to heal on")
        learnt, held = split(Unlabelled(pictures), 1 - settings.held_out, settings.random_seed)
        loader = training_loader(
            learnt, PICTURES, graph.manifest, settings, fabric, settings.random_seed
        )
        total = settings.steps or settings.epochs * loader.batches_per_epoch
        identity = as_plain(settings)
        module = import_onnx(ended.to_model())
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
        self.objective = objective
        self._held, self._learnt = (self._still(part) for part in (held, learnt))
        self.kept = KeptWeights(self.module, settings, higher=False, chooses=True)
        self.curve: list[HealPoint] = []

    def _still(self, pictures: Dataset) -> EpochLoader:
        settings = self.settings
        assert settings.size is not None
        return EpochLoader(
            pictures,
            PICTURES.eval_transform(settings.size, self.graph.manifest),
            min(settings.batch_size, len(pictures)),
            workers=settings.workers,
            shuffle=False,
            drop_last=False,
            collate=PICTURES.collate,
        )

    # ------------------------------------------------------------------ begin, resume, save

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the columns of metrics.csv."""
        return {METRICS: COLUMNS}

    def open(self, *, resume: bool) -> None:
        """Continue or begin; then freeze the statistics of BN, if they are kept."""
        super().open(resume=resume)
        if self.first == 0:
            self.trace.row(step=0, error=self.curve[0].error)
        self._rest()

    def begin(self) -> None:
        """Measure the units and the initial error, which sets the learning rate."""
        count = -(-min(UNIT_PICTURES, len(self._learnt.dataset)) // self._learnt.batch_size)
        batches = list(self._learnt.iterate(0, min(count, self._learnt.batches_per_epoch)))
        self.objective.measure_units([self.on_device(batch)[0] for batch in batches])
        self.kept.begin()
        point = self._measure(0)
        self.kept.offer(point.error, 0)
        if self.settings.follow_error:
            share = rate_share(point.error)
            for group in self.weights.optimizer.param_groups:
                group["base_lr"] *= share
            logger.info(
                "heal: the start is off by %.3g; learning rate %.3g",
                point.error,
                share * self.settings.lr,
            )

    def state(self) -> dict[str, Any]:
        """Return the units, the curve and the weights that are kept."""
        return {
            "units": self.objective.units,
            "curve": [dataclasses.astuple(point) for point in self.curve],
            "kept": self.kept.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take units, curve and kept weights from a checkpoint."""
        self.objective.units = tuple(state["units"])
        self.curve = [HealPoint(*point) for point in state["curve"]]
        self.kept.restore(state["kept"])

    def _rest(self) -> None:
        """Set the module to training mode; BN statistics to evaluation mode if they are kept."""
        self.module.train()
        if keeps_statistics(self.settings, self.curve[0].error):
            for norm in self.module.modules():
                if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
                    norm.eval()

    # ------------------------------------------------------------------ steps

    def step(self, step: int, images: Tensor, truths: Tensor) -> None:
        """Take a weight step towards the original."""
        loss = self.weights.step(step, images, truths)
        self.kept.update()
        self.trace.add(loss, step=step + 1, epoch=self.epoch(step), lr=self.weights.lr)

    def after_step(self, done: int) -> None:
        """Measure at the end of each epoch."""
        if not self.is_epoch_over(done):
            return
        with self.kept.averaged():
            point = self._measure(self.epoch(done - 1) + 1)
            self.kept.offer(point.error, done)
        self._rest()
        self.trace.row(step=done, epoch=self.epoch(done - 1), error=point.error)

    def is_enough(self) -> bool:
        """Say whether the error has not fallen for longer than the patience."""
        return self.kept.is_enough()

    def figures(self) -> dict[str, float | str]:
        """Return the error on the held-out images."""
        return {"error": self.curve[-1].error}

    @torch.no_grad()
    def _measure(self, epoch: int) -> HealPoint:
        self.module.eval()
        totals, count = [0.0] * len(self.objective.names), 0
        for batch in self._held.iterate(0, self._held.batches_per_epoch):
            images = self.on_device(batch)[0]
            for i, error in enumerate(self.objective.errors(self.module(images), images)):
                totals[i] += len(images) * float(error)
            count += len(images)
        errors = dict(zip(self.objective.names, (total / count for total in totals), strict=True))
        point = HealPoint(epoch, sum(errors.values()) / len(errors), errors)
        self.curve.append(self.fabric.broadcast(point))
        return self.curve[-1]

    # ------------------------------------------------------------------ the outcome

    def finish(self, output: Path | None) -> HealResult:
        """Load the kept weights into the network and write it."""
        weights = self.kept.choose(self.done)
        same_buffers(self.fabric, self.module)
        is_best = weights["weights"] == "best"
        error = self.kept.value if is_best else self.curve[-1].error
        curve = [point.error for point in self.curve]
        figures = {"error": error, "start": curve[0], "steps": self.done, "curve": curve}
        entry = {**weights, **figures}
        graph = self.trained({self.stage: entry})
        if output is not None and self.fabric.is_global_zero:
            graph.save(output)
        self.fabric.barrier()
        return HealResult(graph, tuple(self.curve), entry)


def rate_share(error: float) -> float:
    """Return the factor on the learning rate for an initial error of ``error``.

    Its root: an error grows with the square of how far the weights are off, and Adam moves each
    of them by about the rate at every step.
    """
    return min(1.0, max(LEAST_SHARE, math.sqrt(error)))


def keeps_statistics(settings: HealSettings, start: float) -> bool:
    """Say whether BN keeps its statistics for an initial error of ``start``."""
    return settings.bn == "keep" or (settings.bn == "auto" and start < GOOD)


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """The images of a dataset, each with a void mask instead of its truth."""

    dataset: Dataset

    def __len__(self) -> int:
        """Count the images."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and a void mask (H, W)."""
        image, _ = self.dataset[index]
        return image, torch.full(image.shape[1:], IGNORE, dtype=torch.uint8)

    def id(self, index: int) -> str:
        """Name the image as the dataset does."""
        return self.dataset.id(index)

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the dataset below and the index there."""
        return self.dataset, index


def _any_batch(graph: Graph) -> Graph:
    """Return a copy that takes any number of images; UsageError if it only takes one."""
    shape = graph.inputs[0].shape
    if not shape or not isinstance(shape[0], int):
        return graph
    freed = graph.copy()
    report = MakeBatchSymbolic().run(freed)
    if not report.rewrote:
        why = next(iter(report.left.values()), "its batch is fixed")
        raise UsageError(
            f"the network takes a fixed number of images ({why}); export it with a symbolic batch"
        )
    return freed
