"""Pictures with boxes, whatever format the annotations come in.

A reader turns its files into :class:`BoxPicture` lists and says what was wrong on the way; here
is decided what becomes of that: refused with the first problem, or left out and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fnac.errors import DataError

from .pictures import no_split, on_threads, read_image, verify_picture

logger = logging.getLogger(__name__)

OUTSIDE_PIXELS = 1.0
"""How far a box may reach over the picture's edge (rounding, 1-based corners); it is clipped."""
TODO = "correct it, or leave such annotations out with --skip-bad"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BoxPicture:
    """One picture and its objects, in the pixels of the file.

    image    the file; key: its id in the annotations, for messages
    size     (H, W) as the annotations state it
    boxes    float32 (n, 5): x0, y0, x1, y1, class id; learnt and measured
    areas    float32 (n,): area of the object in pixels (of its mask, where the format has one)
    ignored  float32 (m, 5): crowds, difficult objects: not learnt, and what is found there counts
             neither for nor against
    """

    image: Path
    key: str
    size: tuple[int, int]
    boxes: Floats
    areas: Floats
    ignored: Floats


@dataclass(frozen=True)
class BoxList:
    """What a reader found in one split: pictures, and a sentence for each annotation left out."""

    pictures: tuple[BoxPicture, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class BoxDataset:
    """One split of pictures with boxes."""

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
        """Return the picture's file name without its suffix."""
        return self.pictures[index].image.stem

    def info(self, index: int) -> BoxPicture:
        """Return what the annotations say of the sample: sizes, areas, what is not counted."""
        return self.pictures[index]


@dataclass(frozen=True)
class BoxSource:
    """A detection data set; ``readers`` read a split's annotations when it is first asked for.

    skip_bad  leave out what is wrong and log how much, in place of raising DataError
    """

    name: str
    root: Path
    classes: list[str]
    readers: Mapping[str, Callable[[], BoxList]]
    skip_bad: bool = False
    _read: dict[str, BoxDataset] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have annotations."""
        return tuple(self.readers)

    def split(self, name: str) -> BoxDataset:
        """Return one split; DataError where there is none, or an annotation is wrong."""
        if name not in self.readers:
            raise no_split(self, self.root, name, "annotations")
        if name not in self._read:
            found_list = self.readers[name]()
            pictures = found_list.pictures
            if found_list.problems and not self.skip_bad:
                raise _refused(found_list.problems)
            if self.skip_bad:
                pictures = self._leave_out(name, found_list)
            if not pictures:
                raise DataError(f"{self.root} ({self.name}): split '{name}' has no pictures")
            self._read[name] = BoxDataset(pictures)
        return self._read[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Look at every annotation and picture of these splits; DataError names the first bad."""
        for name in self.splits if splits is None else splits:
            dataset = self.split(name)
            if not self.skip_bad:  # else split() has looked at the pictures already
                problems = [p for p in check_pictures(dataset.pictures) if p is not None]
                if problems:
                    raise _refused(problems)

    def _leave_out(self, name: str, found: BoxList) -> tuple[BoxPicture, ...]:
        broken = check_pictures(found.pictures)
        kept = tuple(p for p, why in zip(found.pictures, broken, strict=True) if why is None)
        reasons = [*found.problems, *(why for why in broken if why is not None)]
        if reasons:
            logger.warning(
                "%s %s: left out %d annotations and %d pictures (--skip-bad); the first: %s",
                self.name, name, len(found.problems), len(found.pictures) - len(kept), reasons[0],
            )  # fmt: skip
        return kept


def check_pictures(pictures: Sequence[BoxPicture]) -> list[str | None]:
    """Return, for each picture in order, what is wrong with its file, or None; some threads."""
    return list(on_threads(_check_picture, pictures))


def box_problem(corners: Sequence[float], size: tuple[int, int]) -> str | None:
    """Say what is wrong with a box x0, y0, x1, y1 in a picture (H, W), or None."""
    x0, y0, x1, y1 = corners
    height, width = size
    if not all(np.isfinite(corners)):
        return f"box {_text(corners)} is not of finite numbers"
    if x1 <= x0 or y1 <= y0:
        return f"box {_text(corners)} has no area; wanted x1 > x0 and y1 > y0"
    if min(x0, y0) < -OUTSIDE_PIXELS or x1 > width + OUTSIDE_PIXELS or y1 > height + OUTSIDE_PIXELS:
        return f"box {_text(corners)} lies outside the picture of {width}x{height} pixels"
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return f"box {_text(corners)} lies outside the picture of {width}x{height} pixels"
    return None


def clipped(corners: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the corners cut at the edges of a picture (H, W)."""
    x0, y0, x1, y1 = corners
    height, width = size
    return max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)


def box_rows(rows: Sequence[Sequence[float]]) -> Floats:
    """Return float32 (n, 5), also for no rows."""
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def _check_picture(picture: BoxPicture) -> str | None:
    try:
        width, height = verify_picture(picture.image)
    except DataError as error:
        return f"{error} (image {picture.key} of the annotations)"
    if (height, width) != picture.size:
        return (
            f"{picture.image}: {width}x{height} pixels; wanted {picture.size[1]}x{picture.size[0]} "
            f"as the annotations of image {picture.key} say; use the picture they were made on"
        )
    return None


def _refused(problems: Sequence[str]) -> DataError:
    more = f" ({len(problems) - 1} more are wrong)" if len(problems) > 1 else ""
    return DataError(f"{problems[0]}{more}")


def _text(corners: Sequence[float]) -> str:
    return "[" + ", ".join(f"{c:g}" for c in corners) + "]"
