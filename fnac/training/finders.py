"""Range tests before a training: which learning rate, and which batch size. Nothing is kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fnac.errors import TrainingError
from fnac.progress import StepProgress

from .loop import TrainingRun

logger = logging.getLogger(__name__)

LOWEST, HIGHEST = 1e-6, 1.0
"""Learning rates of the backbone between which the first search looks."""
RATES = 60
"""Steps of it, each at a higher rate than the one before."""
SMOOTH = 0.8
"""Share of the running mean of the losses that stays at each step."""
DIVERGED = 3.0
"""The search ends where the loss is as many times the lowest one."""
RISEN = 1.05
"""The loss begins to rise where it stays above as many times the lowest one."""
BELOW = 10
"""The rate at which the loss begins to rise is too high to train with: it is divided by this."""
LARGEST_BATCH = 512
TIMED = 3
"""Steps that are timed at each batch size, after one that is not."""
AS_FAST = 0.95
"""Share of the highest speed that a smaller batch must reach to be taken instead."""


@dataclass(frozen=True)
class RateSearch:
    """The losses of rising learning rates.

    points  (rate of the backbone, running mean of the loss), in the order of the steps
    rate, head_rate  what is suggested; the ratio of both is that of the settings
    """

    points: tuple[tuple[float, float], ...]
    rate: float
    head_rate: float


@dataclass(frozen=True)
class BatchSearch:
    """The speed of rising batch sizes.

    points  (images per step, images per second)
    batch   what is suggested: the smallest that is nearly as fast as the fastest
    limit   why no larger one was tried
    """

    points: tuple[tuple[int, float], ...]
    batch: int
    limit: str


def find_rate(run: TrainingRun) -> RateSearch:
    """Train at rising learning rates until the loss rises; ``run`` was opened and is spent by it.

    Raises TrainingError if no loss is finite.
    """
    base, head = (_base_rate(run, role) for role in ("backbone", "head"))
    points: list[tuple[float, float]] = []
    mean = 0.0
    batches = run.loader.iterate(0, RATES)
    with StepProgress("find-lr", RATES, shown=run.fabric.is_global_zero) as progress:
        for step in range(RATES):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (RATES - 1))
            images, truths = run.on_device(next(batches))
            run.reseed(step)
            loss = float(run.weights.step_at(rate / base, images, truths))
            mean = SMOOTH * mean + (1 - SMOOTH) * loss
            smooth = mean / (1 - SMOOTH ** (step + 1))
            progress.advance(step + 1)
            if not math.isfinite(loss):
                break
            points.append((rate, smooth))
            if smooth > DIVERGED * min(value for _, value in points):
                break
    if not points:
        raise TrainingError("--find-lr: the loss is not finite at the lowest rate")
    rate = rising(points) / BELOW
    return RateSearch(tuple(points), rate, rate * head / base)


def rising(points: Sequence[tuple[float, float]]) -> float:
    """Return the highest rate whose loss is not above the lowest one by more than ``RISEN``."""
    lowest = min(loss for _, loss in points)
    return max(rate for rate, loss in points if loss <= RISEN * lowest)


def find_batch(run: TrainingRun) -> BatchSearch:
    """Time training steps of doubled batch sizes; ``run`` was opened and is spent by it."""
    images, truths = run.on_device(next(run.loader.iterate(0, 1)))
    points: list[tuple[int, float]] = []
    limit = f"{LARGEST_BATCH} is the largest that is tried"
    size = 2
    while size <= LARGEST_BATCH:
        try:
            seconds = _seconds(run, _filled(images, size), _filled(truths, size))
        except (torch.OutOfMemoryError, MemoryError):
            limit = f"{size} images do not fit in memory"
            break
        points.append((size, size / seconds))
        logger.info("find-batch: %d images per step, %.3g images/s", *points[-1])
        if len(points) > 2 and points[-1][1] < points[-3][1]:
            limit = "larger ones became slower"
            break
        size *= 2
    if not points:
        raise TrainingError("--find-batch: two images do not fit in memory")
    fastest = max(speed for _, speed in points)
    batch = next(size for size, speed in points if speed >= AS_FAST * fastest)
    return BatchSearch(tuple(points), batch, limit)


def _seconds(run: TrainingRun, images: Tensor, truths: Tensor) -> float:
    """Return the median seconds of a training step."""
    taken = []
    for _ in range(1 + TIMED):
        started = time.perf_counter()
        float(run.weights.step_at(0.0, images, truths))  # reading the loss waits for a GPU
        taken.append(time.perf_counter() - started)
    return sorted(taken[1:])[TIMED // 2]


def _filled(batch: Tensor, size: int) -> Tensor:
    """Return ``size`` samples of a batch, repeated where it has fewer."""
    return batch[torch.arange(size, device=batch.device) % len(batch)]


def _base_rate(run: TrainingRun, role: str) -> float:
    """Return the learning rate of the settings for backbone or head."""
    rates = [g["base_lr"] for g in run.weights.optimizer.param_groups if g["role"] == role]
    return rates[0] if rates else run.settings.lr
