"""AP of object keypoint similarity (OKS), by faster-coco-eval (the figures of pycocotools).

Persons are found by their annotated boxes (there is no detector here), so the figure is AP "with
ground-truth boxes", above what the same network reaches with detected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from fnac.data.sets.joints import JointSet
from fnac.data.sets.persons import Person

from ..base import Scores

SEEN = 0.2
"""Joints with a lower score do not count in a person's (SimpleBaseline)."""
STATS = {1: "AP50", 2: "AP75", 3: "AP medium", 4: "AP large", 5: "AR"}


class KeypointAP:
    """Collects one prediction per person.

    ignored: crowds and persons without joints; what matches one of them is not counted.
    """

    def __init__(self, joints: JointSet, ignored: Sequence[Person] = ()) -> None:
        self._joints, self._ignored = joints, ignored
        self._persons: list[Person] = []
        self._predicted: list[npt.NDArray[np.float64]] = []
        self._scores: list[float] = []

    def add(
        self, person: Person, predicted: npt.NDArray[np.floating], scores: npt.NDArray[np.floating]
    ) -> None:
        """Add joints (K, 2) in pixels of the person's image and their scores (K,)."""
        self._persons.append(person)
        self._predicted.append(np.column_stack([predicted, scores]).astype(np.float64))
        seen = scores[scores > SEEN]
        self._scores.append(float((seen if len(seen) else scores).mean()))

    def compute(self) -> Scores:
        """Return AP in percent, and for each joint the mean similarity in percent."""
        if not self._persons:
            return Scores(float("nan"))
        stats = self._evaluate()
        extra = {name: 100 * float(stats[i]) for i, name in STATS.items() if stats[i] >= 0}
        return Scores(100 * float(stats[0]), self._similarities(), extra)

    def _evaluate(self) -> npt.NDArray[np.float64]:
        numbers: dict[tuple[str, object], int] = {}
        for person in self._persons:
            numbers.setdefault((str(person.image), person.image_id), len(numbers) + 1)
        ids = [numbers[str(p.image), p.image_id] for p in self._persons]
        beside = [p for p in self._ignored if (str(p.image), p.image_id) in numbers]
        truth = [
            {
                "id": i + 1, "image_id": numbers[str(p.image), p.image_id], "category_id": 1,
                "iscrowd": int(p.crowd), "area": p.area, "bbox": _xywh(p),
                "keypoints": p.joints.ravel().tolist(),
                "num_keypoints": int((p.joints[:, 2] > 0).sum()),
            }
            for i, p in enumerate([*self._persons, *beside])
        ]  # fmt: skip
        results = [
            {
                "image_id": ids[i], "category_id": 1, "score": self._scores[i],
                "keypoints": joints.ravel().tolist(),
            }
            for i, joints in enumerate(self._predicted)
        ]  # fmt: skip
        coco: Any = COCO(
            {
                "images": [{"id": number} for number in numbers.values()],
                "annotations": truth,
                "categories": [{"id": 1, "name": "person"}],
            }
        )
        sigmas = np.array(self._joints.sigmas)
        run: Any = COCOeval_faster(
            coco, coco.loadRes(results), iouType="keypoints", kpt_oks_sigmas=sigmas
        )
        run.evaluate()
        run.accumulate()
        run.summarize()
        return np.asarray(run.stats, dtype=np.float64)

    def _similarities(self) -> dict[str, float | None]:
        predicted, truth = np.stack(self._predicted), np.stack([p.joints for p in self._persons])
        area = np.array([p.area for p in self._persons])[:, None]
        spread = 2 * np.array(self._joints.sigmas)
        distance = ((predicted[..., :2] - truth[..., :2]) ** 2).sum(-1)
        similarity = np.exp(-distance / (2 * spread**2 * (area + np.spacing(1))))
        labelled = truth[..., 2] > 0
        return {
            name: 100 * float(similarity[labelled[:, k], k].mean())
            if labelled[:, k].any()
            else None
            for k, name in enumerate(self._joints.names)
        }


def _xywh(person: Person) -> list[float]:
    x0, y0, x1, y1 = person.box
    return [x0, y0, x1 - x0, y1 - y0]
