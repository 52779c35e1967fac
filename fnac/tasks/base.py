"""What a task gives the stages: a loss to train with, a metric to report, pictures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from fnac.data.source import Dataset


class Metric(Protocol):
    """Collects predictions; ``compute`` may be called at any time."""

    @property
    def name(self) -> str:
        """What the number is, as in ``fnac eval --json``: ``mIoU``."""
        ...

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        ...

    def compute(self) -> float:
        """Return the metric of all batches so far, in percent."""
        ...

    def reset(self) -> None:
        """Forget all batches."""
        ...


class Task(Protocol):
    """One kind of problem: seg now; det, pose, cls later."""

    @property
    def name(self) -> str:
        """The task's name on the command line."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar training loss; TrainingError where the shapes do not fit."""
        ...

    def labels(self, outputs: Tensor) -> Tensor:
        """Turn network outputs into predictions as the metric takes them."""
        ...

    def metric(self, distributed: bool = False) -> Metric:
        """Make an empty metric; ``distributed`` sums over all ranks in ``compute``."""
        ...

    def pictures(self, dataset: Dataset, predictions: Sequence[Tensor], folder: Path) -> list[Path]:
        """Write one picture a prediction: input beside truth beside prediction."""
        ...
