"""The share of correctly located joints: PCK and PCKh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..base import Scores

STRICT = 0.1
"""A second, stricter threshold, as MPII's evaluation reports it."""


class CorrectJoints:
    """Counts joints whose distance to the truth is at most ``threshold`` units.

    The unit is a length of the person: the head (PCKh) or the torso (PCK). The value is taken over
    all counted joints of all persons together; ``not_counted`` joints (positions) are left out of
    it and get no value of their own.
    """

    def __init__(self, metric: str, names: Sequence[str], not_counted: Sequence[int] = ()) -> None:
        self._prefix, _, threshold = metric.partition("@")
        self._threshold = float(threshold)
        self._names, self._not_counted = tuple(names), tuple(not_counted)
        self._errors: list[npt.NDArray[np.float64]] = []

    def add(
        self,
        predicted: npt.NDArray[np.floating],
        truth: npt.NDArray[np.floating],
        unit: npt.NDArray[np.floating],
    ) -> None:
        """Add persons: predicted (n, K, 2), truth (n, K, 3) with visibility, unit (n,).

        A unit that is nan or zero: the person is not counted.
        """
        distance = np.linalg.norm(predicted.astype(np.float64) - truth[..., :2], axis=-1)
        counted = (truth[..., 2] > 0) & (np.nan_to_num(unit) > 0)[:, None]
        counted[:, list(self._not_counted)] = False
        with np.errstate(divide="ignore", invalid="ignore"):
            self._errors.append(np.where(counted, distance / unit[:, None], np.nan))

    def compute(self) -> Scores:
        """Return the share in percent, of each joint and of all; nan if none was counted."""
        errors = np.concatenate(self._errors) if self._errors else np.empty((0, len(self._names)))
        counted = ~np.isnan(errors)
        per_joint = {
            name: _percent(errors[:, k][counted[:, k]], self._threshold)
            for k, name in enumerate(self._names)
        }
        value = _percent(errors[counted], self._threshold)
        strict = _percent(errors[counted], STRICT)
        return Scores(
            float("nan") if value is None else value,
            per_joint,
            {} if strict is None else {f"{self._prefix}@{STRICT:g}": strict},
        )


def _percent(errors: npt.NDArray[np.float64], threshold: float) -> float | None:
    return 100 * float((errors <= threshold).mean()) if errors.size else None
