"""Settings of `fnac tune`. No torch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from fnac.data.preprocessing import Stated, parse_stated
from fnac.errors import UsageError
from fnac.training.settings import KeptSettings, TeacherSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class TuneSettings(TeacherSettings, KeptSettings, TrainingSettings):
    """Settings of parameter adaptation."""

    section: ClassVar[str] = "tune"

    epochs: int = 12
    """Passes over the training set."""
    steps: int | None = None
    """Steps instead of epochs."""
    eval_every: int = 1
    """Epochs between two evaluations on the validation set; there is always one at the end."""
    measure_start: bool = False
    """Measure on the validation set before the first step as well (``adapt`` does)."""
    recalibrate_bn: int = 0
    """Batches on which BN statistics are recalibrated before the first step; 0: none."""
    freeze_bn: bool = False
    """Train with the running statistics of BN and leave its parameters (after recalibration)."""

    mixup: float = 0.0
    """For cls: blend pairs of images and their classes, with shares drawn from Beta(mixup, mixup),
    as torchvision's MixUp does; 0: off; 0.2 is common."""
    cutmix: float = 0.0
    """For cls: paste a box of another image, with shares drawn from Beta(cutmix, cutmix), as
    torchvision's CutMix does; 0: off; 1 is common. With ``mixup`` each batch gets one of both."""
    mosaic: float = 0.0
    """For det: probability that an image becomes a mosaic of itself and three others of its batch,
    each at half its size; 0: off; 0.5 to 1 is common."""

    mean: Stated | None = None
    """Of the preprocessing, on pixels / 255, or `imagenet`, `tf`, `caffe`; none: the file's."""
    std: Stated | None = None
    """Of the preprocessing, on pixels / 255; none: the file's, or that of the name in `mean`."""

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        KeptSettings.__post_init__(self)
        TrainingSettings.__post_init__(self)
        parse_stated(self.mean, self.std)
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError("epochs, steps: wanted at least 1")
        if min(self.mixup, self.cutmix) < 0:
            raise UsageError("mixup, cutmix: wanted 0 (off) or a number above 0")
        if not 0 <= self.mosaic <= 1:
            raise UsageError(f"mosaic {self.mosaic:g}: wanted a probability, 0 to 1")
        if self.eval_every < 1:
            raise UsageError(f"eval_every {self.eval_every}: wanted at least 1 epoch")
