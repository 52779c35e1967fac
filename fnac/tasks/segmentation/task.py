"""Semantic segmentation: cross entropy, mean IoU, panels of image, truth and prediction."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fnac.data.account import class_amounts
from fnac.data.batches import BatchSettings
from fnac.data.class_files import Colour
from fnac.data.loader import keep_in_memory
from fnac.data.preprocessing import preprocessing
from fnac.data.sets.masks import class_colours
from fnac.data.source import IGNORE, Batch, Dataset, DataSource, Sample
from fnac.data.transforms.pictures import (
    EvalTransform,
    TrainTransform,
    resize,
    resize_pair,
)
from fnac.errors import DataError, TrainingError, UnsupportedGraphError, UsageError

from ..base import MOST_CONFUSED, Manifest, Outputs, Scores, Size, Task
from ..collapse import class_findings
from ..divergence import softened_divergence
from ..mean_iou import MeanIoU
from ..network_check import check_count
from ..panels import class_palette, draw_panel
from ..settings import SegmentationSettings
from .losses import MapLoss, balanced_weights

logger = logging.getLogger(__name__)

BALANCED = "balanced"
"""Class weights by how many pixels each class has."""

OUTSIDE = -1
"""What masks of a batch are filled up with to one size: no pixel of the image."""
LARGEST_RESIZED = 1 << 25
"""Numbers of logits that are resized to a mask's size at once."""


def open_task(
    settings: SegmentationSettings, source: DataSource, manifest: Mapping[str, Any]
) -> Segmentation:
    """Return the task on the classes of ``source``."""
    weights: tuple[float, ...] = ()
    if settings.class_weights == BALANCED:
        weights = balanced_weights(class_amounts(source, "seg"))
        told = ", ".join(
            f"{name} {weight:.2f}" for name, weight in zip(source.classes, weights, strict=True)
        )
        logger.info("class weights: %s", told)
    elif settings.class_weights is not None:
        weights = tuple(map(float, settings.class_weights))
        if len(weights) != len(source.classes):
            raise UsageError(
                f"task.class_weights: {len(weights)} numbers for {len(source.classes)} classes "
                f"({', '.join(source.classes)}); give one for each, in this order"
            )
    loss = MapLoss(settings.loss, settings.focal_gamma, weights)
    colours = partial(class_colours, source)
    return Segmentation(tuple(source.classes), criterion=loss, colours=colours)


@dataclass(frozen=True)
class Segmentation(Task):
    """The task ``seg``; ``classes`` are the class names in the order of their ids.

    colours  returns the colours that the data set gives its classes, by id
    """

    classes: tuple[str, ...]
    name: str = "seg"
    metric: str = MeanIoU.name
    output_names: tuple[str, ...] = ("logits",)
    criterion: MapLoss = field(default_factory=MapLoss)
    colours: Callable[[], Mapping[int, Colour]] = field(default=dict, repr=False, compare=False)

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def check_network(self, manifest: Manifest) -> None:
        """Raise UsageError if the network was made for another number of classes."""
        check_count(manifest, self.name, self.classes)

    def describe(self, manifest: dict[str, Any]) -> None:
        """Write classes and, where the data set has its own, their colours into a manifest."""
        super().describe(manifest)
        manifest.pop("colours", None)
        if own := self.colours():
            rows = class_palette(own)[: self.num_classes]
            manifest["colours"] = [[int(part) for part in row] for row in rows]

    # ------------------------------------------------------------------ samples

    def train_transform(self, batches: BatchSettings, manifest: Manifest) -> TrainTransform:
        """Return random scale, crop, flip and colour about the network's own size."""
        return whole_picture_transform(batches, manifest)

    def eval_transform(self, size: Size, manifest: Manifest) -> EvalTransform:
        """Return the resizing of images to ``size``; labels keep their own size."""
        return EvalTransform(size, *preprocessing(manifest))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack images; pad masks of several sizes with ``OUTSIDE`` at the right and bottom."""
        masks = [mask for _, mask in samples]
        rows, columns = (max(mask.shape[axis] for mask in masks) for axis in (0, 1))
        filled = [
            functional.pad(
                mask, (0, columns - mask.shape[1], 0, rows - mask.shape[0]), value=OUTSIDE
            )
            for mask in masks
        ]
        return torch.stack([image for image, _ in samples]), torch.stack(filled)

    def cached(
        self,
        dataset: Dataset,
        batches: BatchSettings,
        manifest: Manifest,
        *,
        measured: bool = False,
    ) -> Dataset:
        """Keep images and masks in memory, at the network's size if no scale needs more.

        Masks that a metric is taken on keep their own size.
        """
        if len(dataset) == 0:
            return dataset
        first, truth = dataset[0]
        fixed = batches.whole_size(manifest) if batches.scale == (1.0, 1.0) else None
        height, width = fixed or first.shape[1:]

        def shrink(image: Tensor, mask: Tensor) -> Sample:
            if measured:
                return resize(image, (height, width)), mask
            return resize_pair(image, mask, (height, width))

        mask_bytes = truth.numel() if measured else height * width
        sample_bytes = 3 * height * width + mask_bytes
        return keep_in_memory(dataset, sample_bytes, shrink if fixed else None)

    # ------------------------------------------------------------------ training

    def loss(
        self, outputs: Tensor | tuple[Tensor, ...], truths: Tensor, size: Size | None = None
    ) -> Tensor:
        """Return the loss over the pixels that are not 255: their mean cross entropy by default.

        outputs: logits (N, C, h, w), any float type, resized to the truths' size where they
        have another; truths: int64 (N, H, W). The loss is computed in float32.
        """
        logits = self._logits(outputs, len(truths))
        logits = fit_logits(logits.float(), truths.shape[-2:])
        return self.criterion(logits, truths)

    def distillation(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        size: Size,
        temperature: float,
    ) -> Tensor:
        """Return the mean divergence over all pixels; the teacher's logits are resized to fit."""
        logits = self._logits(outputs, len(outputs))
        original = self._logits(teacher, len(logits))
        original = fit_logits(original.float(), logits.shape[-2:])
        return softened_divergence(logits, original, temperature).mean()

    # ------------------------------------------------------------------ measuring

    def evaluation(
        self, dataset: Dataset, size: Size, manifest: Manifest, where: str = "network"
    ) -> SegmentationEvaluation:
        """Begin a confusion matrix."""
        return SegmentationEvaluation(self, size, where)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Return the classes in the colours of the masks, and what is ignored in its own."""
        rows = class_palette(self.colours()).tolist()
        names = dict(enumerate(self.classes)) | {IGNORE: "ignored"}
        return [(name, (r, g, b)) for i, name in names.items() for r, g, b in [rows[i % 256]]]

    def picture(
        self, sample: Sample, output: Outputs, size: Size, manifest: Manifest
    ) -> Image.Image:
        """Lay image, truth and prediction side by side, at the network's input size."""
        ids = class_ids(output, size, self.num_classes, "model")[0].to("cpu")
        image, truth = resize_pair(*sample, (int(ids.shape[0]), int(ids.shape[1])))
        return draw_panel(image, truth, ids.to(torch.uint8), self.colours())

    def _logits(self, outputs: Tensor | tuple[Tensor, ...], count: int) -> Tensor:
        shape = (count, self.num_classes)
        if isinstance(outputs, Tensor) and not outputs.is_floating_point():
            raise TrainingError(
                f"network output: found {tuple(outputs.shape)} of {outputs.dtype}; the network "
                "ends in labels (arg-max), which have no gradient; tune the target.onnx it was "
                "emitted from"
            )
        if not isinstance(outputs, Tensor) or outputs.ndim != 4 or outputs.shape[:2] != shape:
            shaped = isinstance(outputs, Tensor)
            given = str(tuple(outputs.shape)) if shaped else type(outputs).__name__  # type: ignore
            raise TrainingError(
                f"network output: found {given}; wanted logits ({shape[0]}, {shape[1]}, height, "
                f"width) for the {self.num_classes} classes of this data set; give the network a "
                "head for them: fnac adapt FILE.onnx --task seg --data SPEC (--strategy seed "
                "fine-tunes its own architecture)"
            )
        return outputs


class SegmentationEvaluation:
    """All pixels of all images in one confusion matrix."""

    def __init__(self, task: Segmentation, size: Size, where: str) -> None:
        self._task, self._size, self._where = task, size, where
        self._metric = MeanIoU(task.num_classes)
        self._pictures = 0

    def add(self, indices: Sequence[int], outputs: Outputs, truths: Tensor) -> None:
        """Add logits (n, C, h, w) or class ids (n, H, W) or (n, 1, H, W): the first output.

        truths: int64 (n, H, W), each image's mask at its own size with ``OUTSIDE`` around it.
        What a network says at its own size is resized to the mask's before it is compared.
        """
        answers = self._answers(outputs)
        for number, padded in enumerate(truths):
            mask = _inside(padded)
            ids = _ids_at(answers[number : number + 1], tuple(mask.shape))
            self._metric.update(ids.cpu(), mask[None])
        self._pictures += len(indices)

    def _answers(self, outputs: Outputs) -> Tensor:
        """Return class ids (n, *size), or the logits (n, C, *size) that they are the largest of.

        A network that ends in class ids may have their logits as its last output.
        """
        classes, values = self._task.num_classes, list(outputs.values())
        if _is_logits(values[0], classes):
            return fit_logits(values[0].float(), self._size)
        ids = class_ids(outputs, self._size, classes, self._where)  # or says what is wrong
        return (
            fit_logits(values[-1].float(), self._size) if _is_logits(values[-1], classes) else ids
        )

    def compute(self) -> Scores:
        """Return mean IoU and the IoU of each class; DataError if no pixel was counted."""
        value = self._metric.compute()
        if math.isnan(value):
            raise DataError(
                f"eval: in {self._pictures} images every pixel is {IGNORE} (not counted); "
                "wanted at least one of a class"
            )
        classes = self._task.classes
        findings = class_findings(classes, *self._metric.counts(), "pixels")
        each = dict(zip(classes, self._metric.per_class(), strict=True))
        details = {} if len(classes) > MOST_CONFUSED else {"confusion": self._metric.confusion()}
        return Scores(value, each, findings=findings, details=details)


def whole_picture_transform(batches: BatchSettings, manifest: Manifest) -> TrainTransform:
    """Return random scale, crop, flip and colour around the size of whole images."""
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


def _is_logits(output: Tensor, classes: int) -> bool:
    return output.is_floating_point() and output.ndim == 4 and output.shape[1] == classes


def _inside(mask: Tensor) -> Tensor:
    """Return the part of a mask (H, W) that ``collate`` did not pad: usually all of it."""
    rows, columns = int((mask[:, 0] != OUTSIDE).sum()), int((mask[0] != OUTSIDE).sum())
    return mask[:rows, :columns]


def _ids_at(answers: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return class ids (1, *size) from ids (1, h, w) by nearest, or from logits (1, C, h, w).

    Logits are resized a few classes at a time: a large photograph of many classes is gigabytes.
    """
    if answers.ndim == 3:
        return functional.interpolate(answers[None].float(), size, mode="nearest-exact")[0].long()
    if tuple(answers.shape[-2:]) == size:
        return answers.argmax(dim=1)
    at_once = max(1, LARGEST_RESIZED // (size[0] * size[1]))
    best: Tensor | None = None
    ids = torch.zeros(1, *size, dtype=torch.int64, device=answers.device)
    for first in range(0, answers.shape[1], at_once):
        part, of_part = fit_logits(answers[:, first : first + at_once], size).max(dim=1)
        if best is None:
            best, ids = part, of_part
            continue
        wins = part > best
        best, ids = torch.where(wins, part, best), torch.where(wins, of_part + first, ids)
    return ids


def fit_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits (N, C, h, w) bilinearly to (N, C, *size); the same tensor if they fit."""
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
