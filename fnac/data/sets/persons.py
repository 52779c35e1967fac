"""Persons with labelled joints: one sample per person, from any file format.

A sample's image is the *whole* image, not to be changed in place; its truth has the K joints
and, below them, the two rows that tell the transform what to cut out (``window_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fnac.errors import DataError
from fnac.passes.graph.contract import PERSON_WINDOW

from ..files import read_image, verify_image
from .joints import JointSet
from .listed import Listed, ListedSource, Seen

PADDING = PERSON_WINDOW
"""The window that is cut out, in sizes of the person's box (SimpleBaseline)."""

TODO = "correct it, or leave it out with --skip-bad"


@dataclass(frozen=True)
class Person:
    """One labelled person; lengths in pixels of the image, coordinates 0-based.

    where: file and id of the annotation, for messages.
    joints: float32 (K, 3): x, y, visibility (0 not labelled, 1 hidden, 2 visible).
    centre: x, y; window: width, height of what is cut out about it, ``PADDING`` included.
    area: of the person (OKS); head_size: the unit of PCKh, None where it is not known.
    crowd: a region of several persons (COCO).
    image: width, height that the annotations say the image has; None where they do not.
    """

    where: str
    id: int | str
    image: Path
    image_id: int | str
    joints: npt.NDArray[np.float32]
    centre: tuple[float, float]
    window: tuple[float, float]
    area: float
    head_size: float | None = None
    crowd: bool = False
    picture: tuple[int, int] | None = None

    @property
    def counted(self) -> bool:
        """Whether the person is trained and scored on; detections on the others are ignored."""
        return not self.crowd and bool((self.joints[:, 2] > 0).any())

    @property
    def scale(self) -> float:
        """The person's size / 200 pixels, as MPII counts it."""
        return max(self.window) / PADDING / 200

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the person, without padding."""
        half_w, half_h = self.window[0] / PADDING / 2, self.window[1] / PADDING / 2
        x, y = self.centre
        return x - half_w, y - half_h, x + half_w, y + half_h


def window_rows(centre: tuple[float, float], window: tuple[float, float]) -> Tensor:
    """Return float32 (2, 3): centre x, y, 0 and width, height, 0, the tail of a raw truth."""
    return torch.tensor([[*centre, 0.0], [*window, 0.0]], dtype=torch.float32)


@dataclass(frozen=True)
class PersonDataset:
    """One split, one sample per person; ``ignored``: crowds and persons without joints."""

    persons: tuple[Person, ...]
    ignored: tuple[Person, ...] = ()

    @classmethod
    def of(cls, everybody: Sequence[Person]) -> PersonDataset:
        """Return the split of these persons, the counted and the others apart."""
        return cls(
            tuple(person for person in everybody if person.counted),
            tuple(person for person in everybody if not person.counted),
        )

    def __len__(self) -> int:
        """Count the persons."""
        return len(self.persons)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), truth float32 (K + 2, 3)."""
        person = self.persons[index]
        image = torch.from_numpy(read_image(person.image)).permute(2, 0, 1)
        joints = torch.from_numpy(person.joints)
        return image, torch.cat([joints, window_rows(person.centre, person.window)])

    def id(self, index: int) -> str:
        """Return the image's name and, where they differ, the annotation's id."""
        person = self.persons[index]
        name = person.image.stem
        return name if str(person.id) == name else f"{name}-{person.id}"

    def info(self, index: int) -> Person:
        """Return everything that is known about a person."""
        return self.persons[index]


@dataclass(frozen=True, kw_only=True)
class PersonSource(ListedSource[Person]):
    """A data set of persons; ``joints`` says what the K rows of a truth are."""

    joints: JointSet


def person_source(
    name: str,
    root: Path,
    joints: JointSet,
    items: Mapping[str, Callable[[], Listed[Person]]],
    skip_bad: bool = False,
) -> PersonSource:
    """Return the data set of persons whose splits ``items`` list."""
    sizes: dict[Path, tuple[int, int] | str] = {}  # many persons share an image: looked at once
    return PersonSource(
        name, root, list(joints.names), items, partial(_look, sizes), PersonDataset.of,
        "persons with a labelled joint",
        skip_bad=skip_bad, joints=joints,
    )  # fmt: skip


def read_persons(
    entries: Sequence[Any], make: Callable[[int, Any], Person | None]
) -> Listed[Person]:
    """Build a person from each entry (number, entry) of an annotation file.

    ``make`` returns None for an entry that is none of ours and raises DataError for a wrong one.
    """
    persons, problems = [], []
    for number, entry in enumerate(entries):
        try:
            person = make(number, entry)
        except DataError as error:
            problems.append(f"{error}; {TODO}")
            continue
        if person is not None:
            persons.append(person)
    return Listed(tuple(persons), tuple(problems))


def _look(sizes: dict[Path, tuple[int, int] | str], person: Person) -> Seen:
    """Check a person's image (once per image) and joints; uncounted persons pass."""
    if not person.counted:
        return Seen(ignored=1)
    if person.image not in sizes:
        sizes[person.image] = _size_or_problem(person.image)
    size = sizes[person.image]
    if isinstance(size, str):
        return Seen(f"{person.where}: {size}; {TODO}")
    problem = misplaced(person, size) or joint_outside(person, size)
    if problem is not None:
        return Seen(f"{problem}; {TODO}")
    return Seen(None, (person.joints[:, 2] > 0).astype(np.int64))


def _size_or_problem(path: Path) -> tuple[int, int] | str:
    try:
        image = verify_image(path)
    except DataError as error:
        return str(error)
    return image.width, image.height


def misplaced(person: Person, size: tuple[int, int]) -> str | None:
    """Return a sentence if an image of ``size`` (width, height) is not the annotated one's size."""
    width, height = size
    if person.picture not in (None, size):
        stated = "x".join(map(str, person.picture or ()))
        return f"{person.where}: the image has {width}x{height} pixels; {stated} are stated"
    x0, y0, x1, y1 = person.box
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        x, y = person.centre
        return (
            f"{person.where}: the person about ({x:.0f}, {y:.0f}) lies outside the image of "
            f"{width}x{height} pixels"
        )
    return None


def joint_outside(person: Person, size: tuple[int, int]) -> str | None:
    """Say which labelled joint lies outside an image of ``size`` (width, height), or None.

    Joints that all lie within the first pixel are parts of the image, not pixels.

    A pixel of tolerance: labels at the very edge are rounded, and shifted by 1 in some formats.
    """
    width, height = size
    labelled = person.joints[:, 2] > 0
    x, y = person.joints[:, 0], person.joints[:, 1]
    if labelled.sum() > 1 and max(x[labelled].max(), y[labelled].max()) <= 1 < min(size):
        return (
            f"{person.where}: all joints lie within the first pixel of {width}x{height}; wanted "
            "pixels, not parts of the image"
        )
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    wrong = np.flatnonzero(labelled & ~inside)
    if not len(wrong):
        return None
    first = int(wrong[0])
    return (
        f"{person.where}: joint {first} at ({x[first]:g}, {y[first]:g}); "
        f"wanted it inside {person.image.name} ({width}x{height})"
    )
