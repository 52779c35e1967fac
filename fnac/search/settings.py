"""Settings of a search."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

from fnac.errors import UsageError
from fnac.training.settings import TeacherSettings, TrainingSettings

PAPER_ALPHA_LR = 3e-4


@dataclasses.dataclass(frozen=True)
class SearchSettings(TeacherSettings, TrainingSettings):
    """Settings of the architecture search; the optimiser settings apply to its weights."""

    section: ClassVar[str] = "search"

    epochs: int = 14
    """Passes over the weights' part of the training set, warm-up included."""
    warmup_epochs: int = 8
    """Epochs in which paths are drawn uniformly and alphas are frozen."""
    steps: int | None = None
    """Weight steps instead of epochs."""
    warmup_steps: int | None = None
    """Warm-up in weight steps; goes with ``steps``."""
    split: float = 0.5
    """Share of the training set for weights; the rest is for alphas."""
    train_alphas: bool = True
    """Train alphas; without them every path is drawn uniformly to the end (``evolve``)."""
    alpha_every: int = 1
    """Weight steps for each alpha step after warm-up."""
    alpha_grad: Literal["all", "two-path", "gumbel"] = "all"
    """Paths that an alpha step runs: all mixed (the paper), two drawn, one with Gumbel noise."""
    alpha_lr: float | None = None
    """Learning rate of alphas (Adam); none: alpha_travel over the alpha steps, at least 3e-4."""
    alpha_travel: float = 8.0
    """Alpha's learning rate times its steps: larger makes the search decide more strongly."""
    alpha_weight_decay: float = 0.0
    """L2 penalty on alphas; as large as their gradients it holds them flat (1e-3 on CamVid)."""
    alpha_clip: float = 35.0
    """Greatest norm of the alphas' gradient."""
    lambda_: float | None = None
    """Weight of log10(expected cost in G) in the loss (``--lambda``); none: steered to budget."""
    steer_reach: float = 0.5
    """Share of the alpha steps after which a steered search has reached its budget."""
    use_at_least: float = 0.95
    """Share of the budget that the choice must use, where some architecture does."""
    gumbel_temperature: tuple[float, float] = (5.0, 0.1)
    """Temperature of ``gumbel`` at the first and the last alpha step."""
    alphas_every: int | None = None
    """Alpha steps between two rows of alphas in alphas.csv; none: 100 times in all."""
    clip: float | None = 35.0
    """Greatest norm of the weights' gradient."""

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        TrainingSettings.__post_init__(self)
        if (self.steps is None) != (self.warmup_steps is None):
            raise UsageError("steps and warmup_steps: give both, or epochs and warmup_epochs")
        if self.steps is not None and self.warmup_steps is not None:
            name, warm, whole = "warmup_steps", self.warmup_steps, self.steps
        else:
            name, warm, whole = "warmup_epochs", self.warmup_epochs, self.epochs
        if self.train_alphas and not 0 <= warm < whole:
            raise UsageError(
                f"{name} {warm}: the whole search is {whole}; wanted zero or more, and some left "
                "for the alphas"
            )
        for name in ("split", "use_at_least", "steer_reach"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name):g}: wanted a share from 0 to 1")
        if self.split in (0, 1):
            raise UsageError(f"split {self.split:g}: weights and alphas both need images")
        if self.alpha_every < 1:
            raise UsageError(f"alpha_every {self.alpha_every}: wanted at least 1 weight step")
        for name in ("alpha_lr", "alpha_travel", "alpha_clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value:g}: wanted a number above zero")
        if min(self.gumbel_temperature) <= 0:
            raise UsageError("gumbel_temperature: wanted two numbers above zero")

    def plan(self, per_epoch: int) -> SearchPlan:
        """Return the steps of a search whose weights see ``per_epoch`` batches an epoch."""
        total, warmup = self.epochs * per_epoch, self.warmup_epochs * per_epoch
        if self.steps is not None and self.warmup_steps is not None:
            total, warmup = self.steps, self.warmup_steps
        return SearchPlan(total, warmup if self.train_alphas else total, self.alpha_every)

    def resolved_alpha_lr(self, alpha_steps: int) -> float:
        """Return the alphas' learning rate, which depends on the number of alpha steps.

        With 3e-3, 176 steps leave the alphas flat, and so does a travel of 4 in 138 (entropy 97 %
        of an even choice; measured on CamVid): there the gradient's sign is close to chance, and
        Adam walks travel / sqrt(steps).
        """
        if self.alpha_lr is not None:
            return self.alpha_lr
        return max(PAPER_ALPHA_LR, self.alpha_travel / max(1, alpha_steps))


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """The schedule of steps: all counts follow from the number of weight steps done."""

    total: int
    warmup: int
    alpha_every: int

    @property
    def alpha_steps(self) -> int:
        """Alpha steps of the whole search."""
        return self.alpha_steps_before(self.total)

    def alpha_steps_before(self, step: int) -> int:
        """Return how many alpha steps have been taken when ``step`` weight steps are done."""
        return max(0, -(-(step - self.warmup) // self.alpha_every))

    def has_alpha_step(self, step: int) -> bool:
        """Say whether weight step ``step`` (from 0) is followed by an alpha step."""
        return step >= self.warmup and (step - self.warmup) % self.alpha_every == 0
