"""Detections of a whole data set against its objects, in the pixels of the original images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fnac.data.sets.boxes import BoxDataset
from fnac.data.source import Dataset, source_sample
from fnac.data.transforms.boxes import Fit
from fnac.errors import DataError, UsageError
from fnac.findings import Finding

from ..base import Outputs, Scores
from ..collapse import absent_names, missing_finding, one_class
from .coco_metric import Found, Truth, coco_scores
from .decoding import Detections

ANSWERS = ("boxes", "scores", "labels")
"""The outputs of an emitted detector."""


class DetectionEvaluation:
    """Detections and objects of all images; the evaluator runs at the end."""

    def __init__(self, classes: Sequence[str], dataset: Dataset, fit: Fit, where: str) -> None:
        self._classes, self._dataset, self._fit, self._where = classes, dataset, fit, where
        self._truths: list[Truth] = []
        self._detections: list[Found] = []

    def add(self, indices: Sequence[int], outputs: Outputs, truths: Tensor) -> None:
        """Add boxes (n, D, 4), scores (n, D), labels (n, D) of the network's input."""
        sizes = []
        for index in indices:
            truth, size = _truth(self._dataset, index)
            self._truths.append(truth)
            sizes.append(size)
        highest = int(outputs["labels"].max())
        if highest >= len(self._classes):
            raise UsageError(
                f"{self._where}: finds class {highest}; the data set has "
                f"{len(self._classes)}; use the data set it was made for"
            )
        self._detections += unstacked(outputs, self._fit, sizes)

    def compute(self) -> Scores:
        """Return AP with AP50, AP75 and AP by size; DataError if no image has an object."""
        scores = coco_scores(self._truths, self._detections, self._classes)
        if scores is None:
            raise DataError(
                f"eval: {len(self._truths)} images without an object; wanted at least one"
            )
        return dataclasses.replace(scores, findings=self._findings(scores))

    def _findings(self, scores: Scores) -> tuple[Finding, ...]:
        absent = absent_names(scores.per_class)
        missing = missing_finding(absent, len(self._classes), "boxes")
        if any(len(one.scores) for one in self._detections):
            said = self._counts(one.labels for one in self._detections)
            true = self._counts(one.boxes[:, 4] for one in self._truths)
            return (*one_class(self._classes, said, true, "boxes"), *missing)
        text = "the network finds nothing in any image: no box has a score that counts"
        return (Finding("nothing-found", text), *missing)

    def _counts(self, labels: Iterable[npt.NDArray[Any]]) -> Tensor:
        joined = np.concatenate([np.asarray(one, np.int64) for one in labels])
        return torch.from_numpy(np.bincount(joined, minlength=len(self._classes)))


def _truth(dataset: Dataset, index: int) -> tuple[Truth, tuple[int, int]]:
    """Return the objects of a sample and the (H, W) of its image, before any transform."""
    base, place = source_sample(dataset, index)
    if isinstance(base, BoxDataset):
        info = base.info(place)
        return Truth(info.boxes, info.areas, info.ignored), info.size
    image, truth = base[place]
    boxes = truth.numpy()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Truth(boxes, areas, boxes[:0]), (int(image.shape[1]), int(image.shape[2]))


def stacked(detections: Sequence[Detections]) -> Outputs:
    """Return boxes (N, D, 4), scores (N, D), labels (N, D), padded with 0, 0, -1."""
    rows = max([1, *(len(one.scores) for one in detections)])
    first = detections[0].boxes
    boxes = first.new_zeros((len(detections), rows, 4))
    scores = first.new_zeros((len(detections), rows))
    labels = torch.full((len(detections), rows), -1, device=first.device)
    for number, one in enumerate(detections):
        count = len(one.scores)
        boxes[number, :count], scores[number, :count] = one.boxes, one.scores
        labels[number, :count] = one.labels
    return {"boxes": boxes, "scores": scores, "labels": labels}


def unstacked(outputs: Outputs, fit: Fit, sizes: Sequence[tuple[int, int]]) -> list[Found]:
    """Return the detections of each image in the pixels of its original (H, W)."""
    boxes, scores, labels = (outputs[name].cpu() for name in ANSWERS)
    detections = []
    for number, (height, width) in enumerate(sizes):
        there = labels[number] >= 0
        original = fit.to_picture(boxes[number][there], height, width)
        detections.append(
            Found(original.numpy(), scores[number][there].numpy(), labels[number][there].numpy())
        )
    return detections
