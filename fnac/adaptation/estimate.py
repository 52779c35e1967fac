"""How long a run will take and how much memory: from a few steps that a dry run has timed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fnac.adaptation.settings import SEARCHES
from fnac.text import duration
from fnac.training.watchers import Training, Watcher

if TYPE_CHECKING:
    from fnac.adaptation.plan import Plan
    from fnac.search.settings import SearchSettings
    from fnac.stages.tune_settings import TuneSettings

STEPS = 3
"""Steps of each kind that are taken: one to start up, one to time, one before the measurement."""
TRYING = ("measured", "uniform", "random", "evolve")
"""Strategies that do more between preparation and tuning than is counted here."""


class StepClock(Watcher):
    """Notes when each step of a training was over."""

    def __init__(self) -> None:
        self._over: dict[tuple[str, int], float] = {}

    def row(self, training: Training, figures: Mapping[str, float | int | str]) -> None:
        """Note the time; of several rows of a step the last one counts."""
        self._over[training.stage, int(figures["step"])] = time.perf_counter()

    def took(self, stage: str, step: int) -> float:
        """Return the seconds between the ends of a step (from 2) and of the one before it."""
        return self._over[stage, step] - self._over[stage, step - 1]


@dataclasses.dataclass(frozen=True)
class Timed:
    """Seconds of single steps, and what they were taken on.

    search    a weight step with an alpha step
    tune      a step of the fine-tuning
    measured  one image of the validation
    images    of a step
    area      of an image, in pixels
    memory    bytes at the peak; ``before``: at the peak before the first step
    """

    search: float
    tune: float
    measured: float
    images: int
    area: int
    memory: float
    before: float

    @classmethod
    def read(
        cls,
        clock: StepClock,
        *,
        images: int,
        area: int,
        validated: int,
        memory: float,
        before: float,
    ) -> Timed:
        """Read a clock; ``validated``: images that were measured after the last tuning step."""
        tune = clock.took("tune", STEPS - 1)
        measured = max(0.0, clock.took("tune", STEPS) - tune) / max(1, validated)
        return cls(clock.took("search", STEPS), tune, measured, images, area, memory, before)

    def times(self, settings: SearchSettings | TuneSettings, manifest: Mapping[str, Any]) -> float:
        """Return how many times the pixels of a timed step a step with ``settings`` has."""
        height, width = settings.crop or settings.whole_size(manifest)
        return settings.batch_size * height * width / (self.images * self.area)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run will take: ``seconds`` of each part, ``memory`` in bytes.

    least  the strategy does something that is not counted
    """

    seconds: Mapping[str, float]
    memory: float
    least: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "seconds": {part: round(value, 1) for part, value in self.seconds.items()},
            "memory_bytes": round(self.memory),
            "at_least": self.least,
        }

    def as_lines(self, device: str) -> list[str]:
        """Return what ``--dry-run`` prints."""
        parts = ", ".join(f"{part} {duration(value)}" for part, value in self.seconds.items())
        lead = "at least " if self.least else "about "
        more = "; what the strategy tries out is not counted" if self.least else ""
        return [
            f"time    {lead}{duration(sum(self.seconds.values()))} on this {device}: {parts}{more}",
            f"memory  about {self.memory / 1e9:.1f} GB",
        ]


def estimate(
    plan: Plan,
    manifest: Mapping[str, Any],
    steps: Mapping[str, int],
    timed: Timed,
    *,
    prepare: float,
    validation: int,
) -> Estimate:
    """Scale timed steps to the whole run; a step takes as long as it has pixels.

    manifest    of the super network
    steps       planned ones: ``search_steps``, ``alpha_steps``, ``tune_steps``
    prepare     seconds that seed and super network took
    validation  images of the split that is measured
    """
    seconds = {"prepare": prepare}
    sizes = [timed.times(plan.tune, manifest)]
    if plan.adapt.strategy in SEARCHES:
        dear = steps["alpha_steps"] if plan.adapt.strategy == "diff" else 0  # evolve trains none
        light = min(timed.tune, timed.search)  # a weight step alone runs one path
        sizes.append(timed.times(plan.search, manifest))
        each = dear * timed.search + (steps["search_steps"] - dear) * light
        seconds["search"] = sizes[-1] * each
    tuning = sizes[0] * steps["tune_steps"] * timed.tune
    if plan.adapt.baseline:
        seconds["baseline"] = tuning
    seconds["tune"] = tuning
    height, width = plan.tune.whole_size(manifest)
    epochs = 1 if plan.tune.steps is not None else plan.tune.epochs
    passes = (1 + plan.adapt.baseline) * (-(-epochs // plan.tune.eval_every) + 2)
    seconds["measure"] = passes * validation * timed.measured * height * width / timed.area
    memory = timed.before + max(1.0, *sizes) * max(0.0, timed.memory - timed.before)
    return Estimate(seconds, memory, plan.adapt.strategy in TRYING)
