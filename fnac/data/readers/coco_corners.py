"""Tell boxes that a COCO file gives as corners, which are read as if they were sides.

COCO's boxes are [x, y, width, height]. Corners [x0, y0, x1, y1] that are read so mostly leave the
image and are refused one by one. Where they stay inside, the whole file tells: each second pair is
larger than the first, and goes up with it, while a wide box has to begin far left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

CLEARLY = 0.5
"""The sum of both correlations that is none of chance."""
FEW = 20
"""Boxes below which nothing is said."""
CLOSE = 0.02
"""Of an area: by how much a stated one may differ from that of the corners."""
MOST = 0.9
"""The share of stated areas that has to be that of the corners."""


def look_like_corners(boxes: Sequence[Sequence[float]]) -> bool:
    """Say whether ``boxes`` are corners rather than sides.

    boxes  of a whole file: the four numbers of each in pixels, the image's width and height, and
           the area that is stated in pixels, NaN if none is
    """
    if len(boxes) < FEW:
        return False
    x, y, w, h, wide, high, area = np.asarray(boxes, dtype=np.float64).T
    if not ((w > x) & (h > y)).all():
        return False
    told = np.isfinite(area) & (area > 0)
    of_corners = np.abs((w - x) * (h - y) - area) <= CLOSE * area
    of_sides = np.abs(w * h - area) <= CLOSE * area
    if told.mean() > MOST and (of_corners & ~of_sides)[told].mean() > MOST:
        return True
    if told.any() and of_sides[told].mean() > MOST and not of_corners[told].mean() > MOST:
        return False
    # of sides the sum is below zero: the farther in a box begins, the less room it has
    return _correlation(x / wide, w / wide) + _correlation(y / high, h / high) > CLEARLY


def warn_of_corners(path: Path, boxes: Sequence[Sequence[float]]) -> None:
    """Warn if the boxes of the file ``path`` are corners; see :func:`look_like_corners`."""
    if look_like_corners(boxes):
        logger.warning(
            "%s: its %d boxes look like corners [x0, y0, x1, y1]; they are read as COCO's [x, y, "
            "width, height]; write the width and height if they are corners",
            path, len(boxes),
        )  # fmt: skip


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    spread = one.std() * other.std()
    if not spread:
        return 0.0
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread)
