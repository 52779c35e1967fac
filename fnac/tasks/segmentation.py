"""Semantic segmentation: cross entropy, mean IoU, panels of image, truth and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fnac.data.batches import BatchSettings
from fnac.data.loader import keep_in_memory
from fnac.data.preprocessing import preprocessing
from fnac.data.source import IGNORE, Dataset, DataSource, Sample
from fnac.data.transforms.pictures import EvalTransform, TrainTransform, resize_pair
from fnac.errors import DataError, TrainingError, UnsupportedGraphError, UsageError

from .base import Manifest, Outputs, Scores, Size, Task
from .collapse import class_findings
from .divergence import softened_divergence
from .mean_iou import MeanIoU
from .network_check import check_count
from .panels import draw_panel
from .settings import SegmentationSettings


def open_task(
    settings: SegmentationSettings, source: DataSource, manifest: Mapping[str, Any]
) -> Segmentation:
    """Return the task on the classes of ``source``."""
    return Segmentation(tuple(source.classes))


@dataclass(frozen=True)
class Segmentation(Task):
    """The task ``seg``; ``classes`` are the class names in the order of their ids."""

    classes: tuple[str, ...]
    name: str = "seg"
    metric: str = MeanIoU.name
    output_names: tuple[str, ...] = ("logits",)

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError when the network was made for another number of classes."""
        check_count(manifest, self.name, self.classes)

    # ------------------------------------------------------------------ samples

    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> TrainTransform:
        """Return random scale, crop, flip and colour about the network's own size."""
        return whole_picture_transform(batches, manifest)

    def eval_transform(self, size: Size, manifest: Manifest) -> EvalTransform:
        """Return the resizing to ``size``."""
        return EvalTransform(size, *preprocessing(manifest))

    def cached(self, dataset: Dataset, batches: BatchSettings, manifest: Manifest) -> Dataset:
        """Keep images and masks in memory, at the network's size if no scale needs more."""
        if len(dataset) == 0:
            return dataset
        fixed = batches.whole_size(manifest) if batches.scale == (1.0, 1.0) else None
        height, width = fixed or dataset[0][0].shape[1:]

        def shrink(image: Tensor, mask: Tensor) -> Sample:
            return resize_pair(image, mask, (height, width))

        return keep_in_memory(dataset, 4 * height * width, shrink if fixed else None)

    # ------------------------------------------------------------------ training

    def loss(
        self, outputs: Tensor | tuple[Tensor, ...], targets: Tensor, size: Size | None = None
    ) -> Tensor:
        """Return the mean cross entropy over the pixels that are not 255 (0 where there is none).

        outputs: logits (N, C, h, w), any float type, resized to the targets' size where they
        have another; targets: int64 (N, H, W). The loss is computed in float32.
        """
        logits = self._logits(outputs, len(targets))
        logits = fit_logits(logits.float(), targets.shape[-2:])
        total = functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
        counted = (targets != IGNORE).sum().clamp(min=1)
        return total / counted

    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return the mean divergence over all pixels; the teacher's logits are resized to fit."""
        logits = self._logits(outputs, len(outputs))
        wanted = self._logits(teacher, len(logits))
        wanted = fit_logits(wanted.float(), logits.shape[-2:])
        return softened_divergence(logits, wanted, temperature).mean()

    # ------------------------------------------------------------------ measuring

    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> SegmentationEvaluation:
        """Begin a confusion matrix."""
        return SegmentationEvaluation(self, size, where)

    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Lay image, truth and prediction side by side, at the size that the network saw."""
        ids = class_ids(output, size, self.num_classes, "model")[0].to("cpu")
        image, truth = resize_pair(*sample, (int(ids.shape[0]), int(ids.shape[1])))
        return draw_panel(image, truth, ids.to(torch.uint8))

    def _logits(self, outputs: Tensor | tuple[Tensor, ...], count: int) -> Tensor:
        wanted = (count, self.num_classes)
        if isinstance(outputs, Tensor) and not outputs.is_floating_point():
            raise TrainingError(
                f"network output: found {tuple(outputs.shape)} of {outputs.dtype}; the network "
                "ends in labels (arg-max), which have no gradient; tune the target.onnx it was "
                "emitted from"
            )
        if not isinstance(outputs, Tensor) or outputs.ndim != 4 or outputs.shape[:2] != wanted:
            shaped = isinstance(outputs, Tensor)
            found = str(tuple(outputs.shape)) if shaped else type(outputs).__name__  # type: ignore
            raise TrainingError(
                f"network output: found {found}; wanted logits ({wanted[0]}, {wanted[1]}, height, "
                f"width) for the {self.num_classes} classes of this data set; attach a head with "
                "these classes (fnac expand --task seg --classes)"
            )
        return outputs


class SegmentationEvaluation:
    """All pixels of all images in one confusion matrix."""

    def __init__(self, task: Segmentation, size: Size, where: str) -> None:
        self._task, self._size, self._where = task, size, where
        self._metric = MeanIoU(task.num_classes)
        self._pictures = 0

    def add(self, indices: Sequence[int], outputs: Outputs, targets: Tensor) -> None:
        """Add logits (n, C, h, w) or class ids (n, H, W) or (n, 1, H, W): the first output."""
        ids = class_ids(outputs, self._size, self._task.num_classes, self._where)
        self._metric.update(ids.cpu(), targets)
        self._pictures += len(indices)

    def compute(self) -> Scores:
        """Return mean IoU and the IoU of each class; DataError where no pixel was counted."""
        value = self._metric.compute()
        if math.isnan(value):
            raise DataError(
                f"eval: in {self._pictures} images every pixel is {IGNORE} (not counted); "
                "wanted at least one of a class"
            )
        classes = self._task.classes
        findings = class_findings(classes, *self._metric.counts(), "pixels")
        each = dict(zip(classes, self._metric.per_class(), strict=True))
        return Scores(value, each, findings=findings)


def whole_picture_transform(batches: BatchSettings, manifest: Manifest) -> TrainTransform:
    """Return random scale, crop, flip and colour about the size that whole images are seen at."""
    mean, std, color = preprocessing(manifest)
    whole = batches.whole_size(manifest)
    return TrainTransform(
        batches.crop or whole,
        mean,
        std,
        scale=batches.scale,
        flip=batches.flip,
        colour=batches.colour,
        base=whole,
        color=color,
    )


def fit_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits (N, C, h, w) bilinearly to (N, C, *size); the same tensor where they fit."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return functional.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


def class_ids(outputs: Outputs, size: Size, classes: int, where: str) -> Tensor:
    """Turn the first output of a network into class ids int64 (N, H, W) at ``size``.

    Raises UsageError for another number of classes, UnsupportedGraphError for something else.
    """
    output = next(iter(outputs.values()))
    if output.is_floating_point() and output.ndim == 4:
        if output.shape[1] != classes:
            raise UsageError(
                f"{where}: {output.shape[1]} classes; the data set has {classes}; "
                "use the data set it was made for"
            )
        return fit_logits(output.float(), size).argmax(dim=1)
    labels = output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output
    if output.is_floating_point() or labels.ndim != 3 or tuple(labels.shape[1:]) != size:
        raise UnsupportedGraphError(
            f"{where}: output {tuple(output.shape)} {output.dtype}; wanted logits "
            f"(N, {classes}, h, w) or class ids (N, {size[0]}, {size[1]})"
        )
    highest = int(labels.max())
    if highest >= classes:
        raise UsageError(
            f"{where}: predicts class {highest}; the data set has {classes} (0..{classes - 1}); "
            "use the data set it was made for"
        )
    return labels.long()
