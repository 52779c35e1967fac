"""Images for calibration: BN statistics of folded seeds, ranges of int8, fitted weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fnac.errors import DataError
from fnac.findings import Finding
from fnac.passes.graph import Graph
from fnac.passes.running.agreement import UNLIKE, variance_apart

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task

Item = TypeVar("Item")


def calibration_images(
    source: DataSource,
    task: Task,
    size: tuple[int, int],
    manifest: Mapping[str, Any],
    *,
    count: int = 200,
    split: str = "train",
) -> np.ndarray:
    """Return ``count`` images of a split (fewer if it has fewer), prepared for a network.

    They lie evenly over the split and are what ``task`` would measure. size (H, W); manifest: the
    network's (its ``preprocessing``). returns (count, 3, H, W) float32. Raises DataError for an
    empty split.
    """
    dataset = source.split(split)
    if len(dataset) == 0:
        raise DataError(f"{source.name}: split {split} is empty; images are needed to calibrate")
    transform = task.eval_transform(size, manifest)
    places = evenly(range(len(dataset)), count)
    images, _ = task.collate([transform(*dataset[place]) for place in places])
    return images.numpy()


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return ``count`` of the items, or all if there are fewer, evenly over their order."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    return [items[int(place)] for place in places]


def unlike_training(graph: Graph, images: np.ndarray) -> Finding | None:
    """Return a finding if images are preprocessed differently than in training.

    images  (N, C, H, W) float32, prepared for the network

    Its BatchNormalizations remember the variance of what they read; None where it is alike, or
    where the network has none.
    """
    factor = variance_apart(graph, images)
    if factor is None or factor < UNLIKE:
        return None
    return Finding(
        "preprocessing",
        f"--data: what the first BatchNormalizations read varies {factor:.1f} times more or less "
        "than in training: the images are probably prepared otherwise than the network expects; "
        "check --mean and --std, and the range of the pixels",
    )
