"""COCO's average precision, by the evaluator faster-coco-eval (C++, the figures of pycocotools)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from ..base import Scores

AREAS = ("all", "small", "medium", "large")
"""Of objects, in pixels of the image: up to 32x32, up to 96x96, above."""
DETECTIONS = 100
"""Of an image and class, the best ones are counted."""
EVERY_RECALL = 5
"""Spacing of the recalls that are kept for the curve, among COCO's 101."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Truth:
    """The objects of one image, in its own pixels.

    boxes    (n, 5): x0 y0 x1 y1 class
    areas    (n,): of the objects
    ignored  (m, 5): detections on them are ignored (COCO's crowds)
    """

    boxes: Array
    areas: Array
    ignored: Array


@dataclass(frozen=True)
class Found:
    """The detections of one image, in its own pixels: boxes (n, 4), scores (n,), labels (n,)."""

    boxes: Array
    scores: Array
    labels: Array


def coco_scores(
    truths: Sequence[Truth], answers: Sequence[Found], classes: Sequence[str]
) -> Scores | None:
    """Return AP over IoU 0.50:0.95 in percent, per class, and AP50, AP75, AP by size of object.

    A figure that no object counts for is left out; None where there is no object at all.
    """
    truth = coco_truth(truths, classes)
    if not any(not a["iscrowd"] for a in truth["annotations"]):
        return None
    results = coco_results(answers)
    precision = _precision(truth, results)
    per_class = {name: _mean(precision[:, :, place, 0]) for place, name in enumerate(classes)}
    parts = {"AP50": precision[0, :, :, 0], "AP75": precision[5, :, :, 0]}
    parts |= {f"AP_{area}": precision[:, :, :, i] for i, area in enumerate(AREAS) if i}
    extra = {name: _mean(values) for name, values in parts.items()}
    value = _mean(precision[:, :, :, 0])
    assert value is not None
    curves = {
        name: [round(float(p), 4) for p in precision[0, ::EVERY_RECALL, place, 0]]
        for place, name in enumerate(classes)
        if (precision[0, :, place, 0] > -1).any()
    }
    known = {k: v for k, v in extra.items() if v is not None}
    return Scores(value, per_class, known, details={"precision_recall": curves})


def coco_truth(truths: Sequence[Truth], classes: Sequence[str]) -> dict[str, Any]:
    """Return the objects in COCO's format; images, classes and annotations count from 1."""
    annotations: list[dict[str, Any]] = []
    for number, truth in enumerate(truths, start=1):
        areas = [*truth.areas, *(_area(box) for box in truth.ignored)]
        for row, (box, area) in enumerate(zip([*truth.boxes, *truth.ignored], areas, strict=True)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(box[4]) + 1,
                    "bbox": _corner_and_sides(box),
                    "area": float(area),
                    "iscrowd": int(row >= len(truth.boxes)),
                }
            )
    return {
        "images": [{"id": number} for number in range(1, len(truths) + 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
        "annotations": annotations,
    }


def coco_results(answers: Sequence[Found]) -> list[dict[str, Any]]:
    """Return the detections in COCO's format of results."""
    return [
        {
            "image_id": number,
            "category_id": int(label) + 1,
            "bbox": _corner_and_sides(box),
            "score": float(score),
        }
        for number, one in enumerate(answers, start=1)
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]


def _precision(truth: dict[str, Any], results: list[dict[str, Any]]) -> Array:
    """Return precision (10 overlaps, 101 recalls, classes, 4 areas); -1: no objects."""
    annotated = COCO(truth)
    evaluator = COCOeval_faster(annotated, annotated.loadRes(results), iouType="bbox")
    evaluator.params.maxDets = [1, 10, DETECTIONS]
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"])[..., -1]


def _mean(precision: Array) -> float | None:
    counted = precision[precision > -1]
    return 100 * float(counted.mean()) if counted.size else None


def _corner_and_sides(box: Array) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box[:4])
    return [x0, y0, x1 - x0, y1 - y0]


def _area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
