"""Settings of the tasks: section ``task`` of a configuration. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from fnac.errors import UsageError
from fnac.passes.emit.detector_answers import DetectorAnswers

Resize = Literal["letterbox", "stretch", "sides"]


@dataclass(frozen=True)
class SegmentationSettings:
    """How class maps are trained."""

    section: ClassVar[str] = "task"

    loss: Literal["cross-entropy", "focal", "dice", "cross-entropy+dice"] = "cross-entropy"
    """Loss on the labels; focal: pixels that are right already count less; dice: classes alike."""
    focal_gamma: float = 2.0
    """How much less they count, in ``focal``; 0: not less."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weights of the classes in the loss: balanced (by their pixels), or one number a class."""

    def __post_init__(self) -> None:
        if not self.focal_gamma >= 0:
            raise UsageError(f"focal_gamma {self.focal_gamma:g}: wanted zero or more")
        given = self.class_weights if isinstance(self.class_weights, tuple) else ()
        if any(not weight >= 0 for weight in given) or (given and not any(given)):
            raise UsageError(
                f"class_weights {list(given)}: wanted numbers of zero or more, one above zero"
            )


@dataclass(frozen=True)
class DetectionSettings(DetectorAnswers):
    """How images are resized for a detector, and how its outputs are decoded."""

    section: ClassVar[str] = "task"

    resize: Resize | None = None
    """letterbox: padded to the size; stretch; sides: short and long at most as the size's."""
    iou_crop: bool | None = None
    """Random crops that overlap an object (SSD); None: for SSDLite only."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class PoseSettings:
    """Settings of the pose task."""

    section: ClassVar[str] = "task"

    sigma: float = 2.0
    """Of the gaussians in target heatmaps, in cells of a 64x64 heatmap; at least one cell."""
    flip_test: bool = False
    """Measure on the mean of the heatmaps of an image and of its mirror image."""

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UsageError(f"sigma {self.sigma:g}: wanted a number of cells above zero")


@dataclass(frozen=True)
class ClassificationSettings:
    """Settings of the classification task."""

    section: ClassVar[str] = "task"

    label_smoothing: float = 0.0
    """Share of the true class's probability that is spread over all classes."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing {self.label_smoothing:g}: wanted 0 up to below 1")


TaskSettings = SegmentationSettings | DetectionSettings | PoseSettings | ClassificationSettings
