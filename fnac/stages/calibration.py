"""Pictures for calibration: BN statistics of folded seeds, ranges of int8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fnac.errors import DataError

if TYPE_CHECKING:
    from fnac.data.source import DataSource


def calibration_images(
    source: DataSource,
    size: tuple[int, int],
    manifest: Mapping[str, Any],
    *,
    count: int = 200,
    split: str = "train",
) -> np.ndarray:
    """Return ``count`` pictures of a split (fewer if it has fewer), prepared for a network.

    They lie evenly over the split. size (H, W); manifest: the network's (its ``preprocessing``).
    returns (count, 3, H, W) float32. Raises DataError for an empty split.
    """
    from fnac.data.transforms import EvalTransform
    from fnac.stages.evaluate import preprocessing

    dataset = source.split(split)
    if len(dataset) == 0:
        raise DataError(f"{source.name}: split {split} is empty; pictures are needed to calibrate")
    mean, std, color = preprocessing(manifest)
    transform = EvalTransform(size, mean, std, color)
    places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    return np.stack([transform(*dataset[int(place)])[0].numpy() for place in places])
