"""Settings that search and tune share: training of weights, device and runtime. No torch."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any, Literal, TypeVar

from fnac.data.batches import BatchSettings
from fnac.errors import UsageError

logger = logging.getLogger(__name__)

HEAD_LR_MULTIPLIER = 5.0
NO_MATTER = ("workers", "checkpoint_every", "log_every", "cache", "loggers")
"""Settings that change how fast a run is, not what comes out."""
S = TypeVar("S", bound="OptimizerSettings")


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Settings of the weights' optimiser, shared by search and tune."""

    optimizer: Literal["sgd", "rmsprop", "adam", "adamw"] = "sgd"
    """SGD with momentum, RMSprop (eps 1, as FNA++ trains SSDLite), Adam or AdamW."""
    lr: float = 0.01
    """Learning rate of the backbone."""
    head_lr: float | None = None
    """Learning rate of the head; without it ``head_lr_multiplier`` decides."""
    head_lr_multiplier: float | None = None
    """Learning rate of the head over that of the backbone (default 5)."""
    lr_batch: int | None = None
    """Batch size that learning rates and numbers of steps are meant for; see ``for_batch``."""
    momentum: float = 0.9
    """Momentum of SGD and RMSprop."""
    weight_decay: float = 5e-4
    """L2 penalty."""
    decay_bn: bool = False
    """Apply the penalty to BN parameters and biases as well."""
    clip: float | None = None
    """Greatest gradient norm; none: no clipping."""
    schedule: Literal["poly", "cosine", "step", "constant"] = "poly"
    """How the learning rate falls over the run."""
    poly_power: float = 0.9
    """Exponent of ``poly``."""
    milestones: tuple[float, ...] = ()
    """Epochs at which ``step`` multiplies the learning rate by ``gamma``."""
    gamma: float = 0.1
    """Factor of ``step`` at each milestone."""
    lr_warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from ``lr_warmup_from``."""
    lr_warmup_epochs: float = 0.0
    """The same in epochs, instead of steps."""
    lr_warmup_from: float = 1 / 3
    """Share of the learning rate at the first step of its warm-up."""

    def __post_init__(self) -> None:
        if self.head_lr is not None and self.head_lr_multiplier is not None:
            raise UsageError(
                f"head_lr {self.head_lr:g} and head_lr_multiplier {self.head_lr_multiplier:g}: "
                "both say the head's learning rate; give one of them"
            )
        if self.schedule == "step" and not self.milestones:
            raise UsageError("schedule step: it has no milestones; give milestones in epochs")
        if self.schedule != "step" and self.milestones:
            raise UsageError(f"milestones: schedule {self.schedule} has none; use schedule step")
        for name in ("lr", "head_lr", "head_lr_multiplier", "clip", "gamma", "poly_power"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value:g}: wanted a number above zero")
        if self.lr_batch is not None and self.lr_batch < 1:
            raise UsageError(f"lr_batch {self.lr_batch}: wanted at least 1 image")
        if self.lr_warmup_steps and self.lr_warmup_epochs:
            raise UsageError(
                f"lr_warmup_steps {self.lr_warmup_steps} and lr_warmup_epochs "
                f"{self.lr_warmup_epochs:g}: both say how long the warm-up is; set one of them to 0"
            )
        for name in ("momentum", "weight_decay", "lr_warmup_steps", "lr_warmup_epochs"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name):g}: wanted zero or more")

    def resolved_head_lr(self) -> float:
        """Return the head's learning rate at the start."""
        if self.head_lr is not None:
            return self.head_lr
        return self.lr * (self.head_lr_multiplier or HEAD_LR_MULTIPLIER)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor on the learning rates at ``step`` (from 0) of ``total``."""
        warmup = self.lr_warmup_steps or round(self.lr_warmup_epochs * steps_per_epoch)
        if step < warmup:
            share = step / warmup
            return self.lr_warmup_from + (1 - self.lr_warmup_from) * share
        match self.schedule:
            case "poly":
                return float((1 - step / total) ** self.poly_power)
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * step / total))
            case "step":
                passed = sum(step >= epoch * steps_per_epoch for epoch in self.milestones)
                return float(self.gamma**passed)
            case _:
                return 1.0


@dataclasses.dataclass(frozen=True)
class RuntimeSettings:
    """Where and how a training run computes."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA if there is one. Start several processes with torchrun."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Precision of forward and backward."""
    random_seed: int = 0
    """Of order, augmentation, sampled paths and dropout."""
    sync_bn: bool = True
    """Compute BN statistics over all processes (CUDA only)."""
    channels_last: bool = False
    """Store activations pixel by pixel: faster on some devices."""
    deterministic: bool = False
    """Only bit-reproducible algorithms on CUDA (the CPU's always are); slower."""
    checkpoint_every: int = 100
    """Steps between checkpoints; there is one at every end of an epoch as well."""
    log_every: int = 10
    """Steps between two readings of the losses; every step is logged."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Where losses and metrics are sent as well: tensorboard, wandb, mlflow, if installed."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: wanted at least 1 step")
        if self.random_seed < 0:
            raise UsageError(f"random_seed {self.random_seed}: wanted zero or more")


@dataclasses.dataclass(frozen=True)
class KeptSettings:
    """Which weights a training keeps, chosen on held-out images of the training set."""

    held_out: float = 0.0
    """Share of the training set that is held out to choose weights by; 0: none."""
    keep: Literal["best", "last"] | None = None
    """Weights that are written; none: the best if a part is held out, else the last."""
    patience: int | None = None
    """Stop after this many measurements on the held-out part without improvement; none: never."""
    ema: float | None = None
    """Decay of a moving average of the weights, which is measured and written instead."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise UsageError(f"held_out {self.held_out:g}: wanted a share from 0 to below 1")
        if not self.held_out and (self.keep == "best" or self.patience is not None):
            what = "keep best" if self.keep == "best" else f"patience {self.patience}"
            raise UsageError(
                f"{what}: there is nothing to choose weights by; hold a share of the training set "
                "back (held_out 0.1)"
            )
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience {self.patience}: wanted at least 1 measurement")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"ema {self.ema:g}: wanted a decay between 0 and 1 (0.999)")


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
    """A teacher network that the weights learn from in addition to the labels."""

    teacher: str | None = None
    """ONNX file of a network of the same task and classes, or ``baseline``: the tuned seed."""
    teacher_weight: float = 0.5
    """Weight of the teacher in the loss; the labels get the rest."""
    temperature: float = 2.0
    """Divisor of class scores before teacher and student are compared."""

    def __post_init__(self) -> None:
        if not 0 < self.teacher_weight <= 1:
            raise UsageError(f"teacher_weight {self.teacher_weight:g}: wanted a share above 0 to 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"temperature {self.temperature:g}: wanted a number above zero")


@dataclasses.dataclass(frozen=True)
class TrainingSettings(OptimizerSettings, BatchSettings, RuntimeSettings):
    """The settings that search and tune share."""

    def __post_init__(self) -> None:
        OptimizerSettings.__post_init__(self)
        BatchSettings.__post_init__(self)
        RuntimeSettings.__post_init__(self)


def for_batch(settings: S, batch_size: int) -> S:
    """Scale ``settings`` to another batch than the one they were made for (``lr_batch``).

    Learning rates follow the batch size: linearly, or by its square root for Adam; whatever is
    counted in steps (``steps``, warm-ups) follows its inverse, so that as many images are seen.
    Epochs and milestones stay. Without ``lr_batch`` nothing changes. The number of devices does
    not matter: ``batch_size`` is over all of them.
    """
    if settings.lr_batch is None or settings.lr_batch == batch_size:
        return settings
    ratio = batch_size / settings.lr_batch
    rate = math.sqrt(ratio) if settings.optimizer in ("adam", "adamw") else ratio
    changed: dict[str, Any] = {"lr": settings.lr * rate, "lr_batch": batch_size}
    if settings.head_lr is not None:
        changed["head_lr"] = settings.head_lr * rate
    for name in ("steps", "warmup_steps", "lr_warmup_steps"):
        count = getattr(settings, name, None)
        if count:
            changed[name] = max(1, round(count / ratio))
    said = ", ".join(f"{name} {value:.6g}" for name, value in changed.items() if name != "lr_batch")
    logger.info("batch %d instead of %d: %s", batch_size, settings.lr_batch, said)
    return dataclasses.replace(settings, **changed)
