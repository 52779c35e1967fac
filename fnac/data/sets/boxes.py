"""Images with boxes, whatever format the annotations come in.

A reader turns its files into :class:`BoxPicture` lists and says what was wrong on the way; what
becomes of that is decided in :mod:`.listed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fnac.errors import DataError

from ..files import read_image, verify_image
from .listed import Listed, ListedSource, Seen

OUTSIDE_PIXELS = 1.0
"""How far a box may reach over the image's edge (rounding, 1-based corners); it is clipped."""
TODO = "correct it, or leave such annotations out with --skip-bad"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BoxPicture:
    """One image and its objects, in the pixels of the file.

    image    the file; key: its id in the annotations, for messages
    size     (H, W) as the annotations state it
    boxes    float32 (n, 5): x0, y0, x1, y1, class id; trained and scored on
    areas    float32 (n,): area of the object in pixels (of its mask, where the format has one)
    ignored  float32 (m, 5): crowds, difficult objects: neither trained on nor scored; detections on
             them are ignored
    """

    image: Path
    key: str
    size: tuple[int, int]
    boxes: Floats
    areas: Floats
    ignored: Floats


@dataclass(frozen=True)
class BoxDataset:
    """One split of images with boxes."""

    pictures: tuple[BoxPicture, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), boxes float32 (n, 5)."""
        picture = self.pictures[index]
        image = torch.from_numpy(read_image(picture.image)).permute(2, 0, 1)
        return image, torch.from_numpy(picture.boxes.copy())

    def id(self, index: int) -> str:
        """Return the image's file name without its suffix."""
        return self.pictures[index].image.stem

    def info(self, index: int) -> BoxPicture:
        """Return the sample's annotations: sizes, areas, ignored objects."""
        return self.pictures[index]


def box_source(
    name: str,
    root: Path,
    classes: Sequence[str],
    items: Mapping[str, Callable[[], Listed[BoxPicture]]],
    skip_bad: bool = False,
) -> ListedSource[BoxPicture]:
    """Return the detection data set whose splits ``items`` list."""
    return ListedSource(
        name, root, list(classes), items, partial(_look, len(classes)), BoxDataset,
        skip_bad=skip_bad,
    )  # fmt: skip


def box_problem(corners: Sequence[float], size: tuple[int, int]) -> str | None:
    """Say what is wrong with a box x0, y0, x1, y1 in an image (H, W), or None."""
    x0, y0, x1, y1 = corners
    height, width = size
    if not all(np.isfinite(corners)):
        return f"box {_text(corners)} is not of finite numbers"
    if x1 <= x0 or y1 <= y0:
        return f"box {_text(corners)} has no area; wanted x1 > x0 and y1 > y0"
    if max(x1, y1) <= 1 < min(size):
        return (
            f"box {_text(corners)} lies within the first pixel of {width}x{height}; wanted pixels, "
            "not parts of the image"
        )
    if min(x0, y0) < -OUTSIDE_PIXELS or x1 > width + OUTSIDE_PIXELS or y1 > height + OUTSIDE_PIXELS:
        return f"box {_text(corners)} lies outside the image of {width}x{height} pixels"
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return f"box {_text(corners)} lies outside the image of {width}x{height} pixels"
    return None


def clipped(corners: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the corners cut at the edges of an image (H, W)."""
    x0, y0, x1, y1 = corners
    height, width = size
    return max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)


def box_rows(rows: Sequence[Sequence[float]]) -> Floats:
    """Return float32 (n, 5), also for no rows."""
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def _look(classes: int, picture: BoxPicture) -> Seen:
    try:
        image = verify_image(picture.image)
    except DataError as error:
        return Seen(f"{error} (image {picture.key} of the annotations)")
    if (image.height, image.width) != picture.size:
        turned = " as its EXIF orientation turns it" if image.turned else ""
        return Seen(
            f"{picture.image}: {image.width}x{image.height} pixels{turned}; wanted "
            f"{picture.size[1]}x{picture.size[0]} as the annotations of image {picture.key} say; "
            "use the image they were made on"
        )
    boxes = np.bincount(picture.boxes[:, 4].astype(np.int64), minlength=classes)
    return Seen(None, boxes, len(picture.ignored))


def _text(corners: Sequence[float]) -> str:
    return "[" + ", ".join(f"{c:g}" for c in corners) + "]"
