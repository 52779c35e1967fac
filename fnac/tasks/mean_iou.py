"""Mean intersection over union, from torchmetrics' confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from fnac.data.source import IGNORE


class MeanIoU:
    """Accumulates the confusion matrix; 255 in the truth is not counted.

    IoU of a class = hits / (predicted + true - hits), over all pixels together. A class that
    neither occurs nor is predicted is left out of the mean.
    """

    name = "mIoU"

    def __init__(self, num_classes: int, *, distributed: bool = False) -> None:
        self.num_classes = num_classes
        self._matrix = MulticlassConfusionMatrix(
            num_classes,
            ignore_index=IGNORE,
            validate_args=False,
            sync_on_compute=distributed,
        )

    def update(self, predictions: Tensor, truths: Tensor) -> None:
        """Add a batch: class ids (N, H, W) of an integer type, below ``num_classes``; truth alike.

        Raises ValueError where the shapes differ or a prediction is out of range.
        """
        if predictions.shape != truths.shape:
            raise ValueError(f"predictions {tuple(predictions.shape)}, truth {tuple(truths.shape)}")
        lowest, highest = int(predictions.min()), int(predictions.max())
        if lowest < 0 or highest >= self.num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"predicted class {wrong}; wanted 0..{self.num_classes - 1}")
        self._matrix.to(predictions.device)
        self._matrix.update(predictions.long(), truths.long())

    def per_class(self) -> list[float | None]:
        """Return the IoU of each class in percent; None if it is neither true nor predicted."""
        matrix = self._matrix.compute().to("cpu", torch.float64)
        hits = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - hits
        return [
            100 * float(h) / float(u) if u > 0 else None for h, u in zip(hits, union, strict=True)
        ]

    def compute(self) -> float:
        """Return the mean over the classes in percent; nan if nothing was counted."""
        present = [value for value in self.per_class() if value is not None]
        return sum(present) / len(present) if present else float("nan")

    def counts(self) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true pixels of each class, int64 (C,)."""
        matrix = self._matrix.compute().to("cpu", torch.int64)
        return matrix.sum(0), matrix.sum(1)

    def confusion(self) -> list[list[int]]:
        """Return the pixels of each class (rows) by the class that was predicted (columns)."""
        matrix: list[list[int]] = self._matrix.compute().to("cpu", torch.int64).tolist()
        return matrix

    def reset(self) -> None:
        """Forget all batches."""
        self._matrix.reset()
