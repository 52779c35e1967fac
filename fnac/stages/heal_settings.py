"""Settings of healing. No torch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from fnac.errors import UsageError
from fnac.training.settings import KeptSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class HealSettings(KeptSettings, TrainingSettings):
    """Settings of healing: a changed network learns its original's outputs, without labels."""

    section: ClassVar[str] = "heal"

    epochs: int = 6
    """Passes over the images."""
    steps: int | None = None
    """Steps instead of epochs."""
    held_out: float = 0.1
    """Share of the images that is held out to choose weights by."""
    bn: Literal["auto", "keep", "train"] = "auto"
    """Statistics of BN: kept or trained; auto: kept if the initial error is low."""
    follow_error: bool = True
    """Lower the learning rate if the initial error is low, in proportion to its square root."""
    optimizer: Literal["sgd", "rmsprop", "adam", "adamw"] = "adam"
    """SGD with momentum, RMSprop, Adam or AdamW."""
    lr: float = 5e-4
    """Learning rate for a high initial error."""
    head_lr_multiplier: float | None = 1.0
    """Learning rate of the head over that of the backbone."""
    weight_decay: float = 0.0
    """L2 penalty."""
    schedule: Literal["poly", "cosine", "step", "constant"] = "cosine"
    """How the learning rate falls over the run."""
    lr_warmup_steps: int = 20
    """Steps over which the learning rate rises linearly from ``lr_warmup_from``."""
    lr_warmup_from: float = 0.1
    """Share of the learning rate at the first step of its warm-up."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random scale; [1, 1]: none."""

    def __post_init__(self) -> None:
        KeptSettings.__post_init__(self)
        TrainingSettings.__post_init__(self)
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError("epochs, steps: wanted at least 1")
        if self.held_out == 0:
            raise UsageError("held_out 0: healing measures on held-out images; wanted a share")
