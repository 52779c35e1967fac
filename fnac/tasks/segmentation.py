"""Semantic segmentation: cross entropy, mean IoU, panels of image, truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fnac.data.source import IGNORE, Dataset
from fnac.data.transforms import resize_pair
from fnac.errors import TrainingError

from .mean_iou import MeanIoU
from .panels import draw_panel, write_png


@dataclass(frozen=True)
class Segmentation:
    """The task ``seg``; ``classes`` are the class names in the order of their ids."""

    classes: tuple[str, ...]
    name: str = "seg"

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over the pixels that are not 255 (0 where there is none).

        outputs: logits (N, C, h, w), any float type, resized to the targets' size where they
        have another; targets: int64 (N, H, W). The loss is computed in float32.
        """
        self._check_shapes(outputs, targets)
        logits = fit_logits(outputs.float(), targets.shape[-2:])
        total = functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
        counted = (targets != IGNORE).sum().clamp(min=1)
        return total / counted

    def labels(self, outputs: Tensor) -> Tensor:
        """Return class ids (N, H, W): the arg-max of logits (N, C, H, W)."""
        return outputs.argmax(dim=1)

    def metric(self, distributed: bool = False) -> MeanIoU:
        """Make an empty mean IoU."""
        return MeanIoU(self.num_classes, distributed=distributed)

    def pictures(self, dataset: Dataset, predictions: Sequence[Tensor], folder: Path) -> list[Path]:
        """Write one panel a prediction: ``folder/prediction_NUMBER-NAME.png``.

        The predictions are those of the first samples of ``dataset``: class ids (H, W) each;
        image and truth are resized to that. Returns the paths.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for index, prediction in enumerate(predictions):
            image, truth = dataset[index]
            size = (int(prediction.shape[0]), int(prediction.shape[1]))
            image, truth = resize_pair(image, truth, size)
            path = folder / f"prediction_{index:02d}-{dataset.id(index)}.png"
            write_png(path, draw_panel(image, truth, prediction.cpu().to(torch.uint8)))
            written.append(path)
        return written

    def _check_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        wanted = (targets.shape[0], self.num_classes)
        if isinstance(outputs, Tensor) and not outputs.is_floating_point():
            raise TrainingError(
                f"network output: found {tuple(outputs.shape)} of {outputs.dtype}; the network "
                "ends in labels (arg-max), which have no gradient; tune the target.onnx it was "
                "emitted from"
            )
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else None
        if shape is None or len(shape) != 4 or shape[:2] != wanted:
            found = type(outputs).__name__ if shape is None else str(shape)
            raise TrainingError(
                f"network output: found {found}; wanted logits ({wanted[0]}, {wanted[1]}, height, "
                f"width) for the {self.num_classes} classes of this data set; attach a head with "
                "these classes (fnac expand --task seg --classes)"
            )


def fit_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits (N, C, h, w) bilinearly to (N, C, *size); the same tensor where they fit."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return functional.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)
