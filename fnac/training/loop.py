"""The training loop of search and tune: begin or resume, step, save, write back.

A run that was killed continues from its last checkpoint, bit-identical to an unbroken one:
whatever a step depends on is a function of the step's number or is in the checkpoint.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fnac.config import as_plain
from fnac.data.loader import EpochLoader
from fnac.errors import UnsupportedGraphError
from fnac.findings import FINDINGS, Finding, read_findings, together, written
from fnac.importer import ImportedModule, write_back
from fnac.passes.graph import Graph
from fnac.progress import StepProgress
from fnac.training.checkpoints import (
    BEGUN_WITH,
    TAUGHT_BY,
    fingerprint,
    load_checkpoint,
    of_this_run,
    restore_precision,
    save_checkpoint,
)
from fnac.training.digests import network_digest
from fnac.training.objectives import Objective
from fnac.training.run_log import CsvLog, LossTrace, Written
from fnac.training.runtime import prepare_module, seed_step
from fnac.training.settings import TrainingSettings
from fnac.training.watchers import Training, Watcher, Watchers, open_services, watching
from fnac.training.watchers.watcher import current
from fnac.training.weight_steps import open_weight_steps, to_device

logger = logging.getLogger(__name__)

HELD = ("settings", "step", "loss", "logs", "network", "weights")
"""What the checkpoint of every run holds."""
METRICS = "metrics"
"""The log that losses go to: metrics.csv."""


@dataclass(frozen=True)
class Setup:
    """What a training run is set up with.

    graph      the file's network, whose weights are written back at the end
    module     ``graph`` as it was imported
    objective  what a weight step makes smaller
    folder     gets the checkpoint and the logs
    loader     batches of the weights' training set; an epoch is one pass over it
    total      weight steps of the whole run
    identity   what must be the same for a checkpoint to be continued
    """

    graph: Graph
    module: ImportedModule
    objective: Objective
    folder: Path
    settings: TrainingSettings
    fabric: Fabric
    loader: EpochLoader
    total: int
    identity: Mapping[str, Any]


def _check_epsilons(module: ImportedModule) -> None:
    """Raise UnsupportedGraphError for a BatchNormalization that divides by zero in training."""
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.eps <= 0:
            raise UnsupportedGraphError(
                f"{name} (BatchNormalization): its epsilon is {part.eps:g}: a channel that never "
                "varies in a batch would be divided by zero; set it to 1e-5 to train the network"
            )


class TrainingRun(abc.ABC):
    """One training of a network in its folder."""

    stage: str
    """Name in messages, in the manifest and in ``identity``."""
    streams = 1
    """Streams of random numbers that a step draws from."""

    def __init__(self, setup: Setup) -> None:
        self.graph, self.settings, self.fabric = setup.graph, setup.settings, setup.fabric
        self.folder, self.checkpoint = setup.folder, setup.folder / "last.ckpt"
        self.loader, self.total, self.first, self.done = setup.loader, setup.total, 0, 0
        began = {
            "steps": setup.total,
            "network": self.stage,
            BEGUN_WITH: network_digest(setup.graph),
        }
        if (teacher := setup.objective.teacher_digest) is not None:
            began[TAUGHT_BY] = teacher
        self.identity = {**setup.identity, **began}
        _check_epsilons(setup.module)
        module = prepare_module(setup.module, setup.fabric, setup.settings)
        self.module: ImportedModule = module  # type: ignore
        self.weights = open_weight_steps(
            setup.fabric,
            self.module,
            setup.module.backbone_parameters(),
            setup.module.head_parameters(),
            setup.settings,
            setup.objective,
            setup.total,
            setup.loader.batches_per_epoch,
        )

    # ------------------------------------------------------------------ what each kind of run says

    @abc.abstractmethod
    def columns(self) -> Mapping[str, Sequence[str]]:
        """Return the columns of each log; one of them is ``METRICS``."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Set up the initial state of a new run."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint in addition to network, optimiser and logs."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""

    @abc.abstractmethod
    def step(self, step: int, images: Tensor, truths: Tensor) -> None:
        """Take step ``step`` (from 0) on a batch of the loader, and log it."""

    @abc.abstractmethod
    def figures(self) -> dict[str, float | str]:
        """Return the figures that the progress shows in addition to the loss."""

    def after_step(self, done: int) -> None:  # noqa: B027
        """Called when ``done`` steps are taken, for measurements."""

    def phase(self, step: int) -> str:
        """Return what the progress calls the part of the run that ``step`` (from 0) is of."""
        epochs = -(-self.total // self.loader.batches_per_epoch)
        return f"{self.stage}, epoch {self.epoch(step) + 1}/{epochs}"

    def kind(self, step: int) -> str:
        """Return the kind of a step (from 0), by duration: one that ends an epoch takes longer."""
        return "end of an epoch" if self.is_epoch_over(step + 1) else ""

    def is_enough(self) -> bool:
        """Say whether the run may end before its last step."""
        return False

    # ------------------------------------------------------------------ what all runs share

    def open(self, *, resume: bool) -> None:
        """Continue from the checkpoint if there is one and resuming is on, else begin.

        Raises TrainingError for a checkpoint that is not as this run left it.
        """
        state: dict[str, Any] | None = None
        if resume and self.checkpoint.exists():
            holds = {*HELD, "precision_state", *self.state()}
            state = load_checkpoint(self.checkpoint, self.identity, holds)
            with of_this_run(self.checkpoint):
                self.module.load_state_dict(state["network"])
                self.weights.optimizer.load_state_dict(state["weights"])
                restore_precision(self.fabric, state)
                self.first = self.done = _step_of(state, self.total)
                self.restore(state)
        else:
            self.begin()
            if self.fabric.is_global_zero:
                self.checkpoint.unlink(missing_ok=True)  # of another run, not to be resumed
        written: Mapping[str, Written] = {} if state is None else state["logs"]
        self.logs = {
            name: CsvLog(
                self.folder / f"{name}.csv" if self.fabric.is_global_zero else None,
                columns,
                written.get(name),
            )
            for name, columns in self.columns().items()
        }
        watchers: list[Watcher] = []
        if self.fabric.is_global_zero:
            watchers = [*current(), *open_services(self.settings.loggers)]
        training = Training(
            self.stage, self.folder, self.total, self.first, as_plain(self.settings)
        )
        self.watchers = Watchers(training, watchers)
        self.trace = LossTrace(self.logs[METRICS], self.watchers)
        if state is not None:
            self.trace.last = float(state["loss"])
            logger.info("%s: resumed at step %d of %d", self.stage, self.first, self.total)

    def train(self) -> None:
        """Take every step that is left."""
        settings, shown = self.settings, self.fabric.is_global_zero
        batches = self.loader.iterate(self.first, self.total)
        progress = StepProgress(
            self.stage,
            self.total,
            start=self.first,
            shown=shown,
            images=settings.batch_size,
            kind=self.kind,
            memory=self._device_memory if self.fabric.device.type == "cuda" else None,
        )
        with watching(self.watchers), progress:
            for step in range(self.first, self.total):
                if self.is_enough():
                    break
                progress.phase(self.phase(step))
                images, truths = self.on_device(next(batches))
                self.reseed(step)
                self.step(step, images, truths)
                self.done = done = step + 1
                over = self.is_epoch_over(done)
                self.after_step(done)
                if over or done % settings.log_every == 0:
                    self.trace.read()
                    progress.figures(loss=self.trace.smooth, **self.figures())
                progress.advance(done)
                if over or done % settings.checkpoint_every == 0:
                    self._save(done)

    def write(self, output: Path, entries: Mapping[str, Any]) -> None:
        """Write the trained network to ``output``; ``entries`` go into its manifest."""
        if self.fabric.is_global_zero:
            for finding in self._silent():
                logger.warning("%s", finding)
            self.trained(entries).save(output)
        self.fabric.barrier()

    def trained(self, entries: Mapping[str, Any]) -> Graph:
        """Return the network with the module's weights; ``entries`` go into its manifest."""
        trained = Graph.from_model(write_back(self.module.cpu(), self.graph.to_model()))
        trained.manifest.update(entries)
        findings = together(read_findings(trained.manifest), self._silent())
        if findings:
            trained.manifest[FINDINGS] = written(findings)
        return trained

    def _silent(self) -> tuple[Finding, ...]:
        """Return a finding if the loss is exactly zero, at the end or in most steps."""
        losses = [float(row["loss"]) for row in self.trace.rows() if row["loss"]]
        zeros = sum(loss == 0 for loss in losses)
        if self.trace.last != 0 and 2 * zeros <= len(losses):
            return ()
        always = f"is exactly 0 in {zeros} of {len(losses)} steps"
        when = "ends at exactly 0" if self.trace.last == 0 else always
        return (
            Finding(
                "no-loss",
                f"{self.stage}: the loss {when}: nothing that counts is labelled in "
                "what was trained on, or nothing was left to learn; look at data.json",
            ),
        )

    def is_epoch_over(self, done: int) -> bool:
        """Say whether an epoch, or the run, ends when ``done`` steps are taken."""
        return done == self.total or done % self.loader.batches_per_epoch == 0

    def epoch(self, step: int) -> int:
        """Return the epoch that ``step`` (from 0) belongs to."""
        return step // self.loader.batches_per_epoch

    def reseed(self, step: int, stream: int = 0) -> None:
        """Seed torch's global generators for one stream of random numbers of a step."""
        number = self.streams * step + stream
        seed_step(self.settings.random_seed, number, self.fabric.global_rank)

    def on_device(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Move a batch to the device."""
        return to_device(self.fabric, batch, self.settings.channels_last)

    def _device_memory(self) -> float:
        """Return the most bytes that tensors took on the GPU so far."""
        return float(torch.cuda.max_memory_allocated(self.fabric.device))

    def _save(self, done: int) -> None:
        self.trace.read()
        content = {
            "settings": fingerprint(self.identity),
            "step": done,
            "loss": self.trace.last,
            "logs": {name: log.flush() for name, log in self.logs.items()},
            "network": self.module.state_dict(),
            "weights": self.weights.optimizer.state_dict(),
            **self.state(),
        }
        save_checkpoint(self.fabric, self.checkpoint, content)


def _step_of(state: Mapping[str, Any], total: int) -> int:
    """Return the step of a checkpoint; ValueError where the run has no such step."""
    step = state["step"]
    if not isinstance(step, int) or not 0 <= step <= total:
        raise ValueError(f"it is of step {step}, of {total}")
    return step
