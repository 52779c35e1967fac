"""Persons with labelled joints: one sample a person, whatever file format they come from.

A sample's picture is the *whole* picture, not to be changed in place; its target has the K joints
and, below them, the two rows that tell the transform what to cut out (``window_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fnac.errors import DataError

from .joints import JointSet
from .pictures import no_split, on_threads, read_image, report_skipped, verify_picture

PADDING = 1.25
"""The window that is cut out, in sizes of the person's box (SimpleBaseline)."""

TODO = "correct it, or leave it out with --skip-bad"


@dataclass(frozen=True)
class Person:
    """One labelled person; lengths in pixels of the picture, coordinates 0-based.

    where: file and id of the annotation, for messages.
    joints: float32 (K, 3): x, y, visibility (0 not labelled, 1 hidden, 2 visible).
    centre: x, y; window: width, height of what is cut out about it, ``PADDING`` included.
    area: of the person (OKS); head_size: the unit of PCKh, None where it is not known.
    crowd: a region of several persons (COCO).
    picture: width, height that the annotations say the picture has; None where they do not.
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
        """Whether the person is learnt and measured; others only excuse what is found on them."""
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
    """Return float32 (2, 3): centre x, y, 0 and width, height, 0, the tail of a raw target."""
    return torch.tensor([[*centre, 0.0], [*window, 0.0]], dtype=torch.float32)


@dataclass(frozen=True)
class PersonDataset:
    """One split, a sample a person; ``ignored``: crowds and persons without joints beside them."""

    persons: tuple[Person, ...]
    ignored: tuple[Person, ...] = ()

    def __len__(self) -> int:
        """Count the persons."""
        return len(self.persons)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), target float32 (K + 2, 3)."""
        person = self.persons[index]
        image = torch.from_numpy(read_image(person.image)).permute(2, 0, 1)
        joints = torch.from_numpy(person.joints)
        return image, torch.cat([joints, window_rows(person.centre, person.window)])

    def id(self, index: int) -> str:
        """Return the picture's name and, where they differ, the annotation's id."""
        person = self.persons[index]
        name = person.image.stem
        return name if str(person.id) == name else f"{name}-{person.id}"

    def info(self, index: int) -> Person:
        """Return everything that is known of a person."""
        return self.persons[index]


@dataclass(frozen=True)
class PersonSource:
    """A data set of persons; ``joints`` says what the K rows of a target are.

    readers: read a split's annotations when it is first asked for.
    skip_bad: leave out persons with wrong annotations and log how many, in place of DataError.
    """

    name: str
    root: Path
    joints: JointSet
    readers: Mapping[str, Callable[[], tuple[Person, ...]]]
    skip_bad: bool = False
    _read: dict[str, PersonDataset] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def classes(self) -> list[str]:
        """The names of the joints."""
        return list(self.joints.names)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have annotations."""
        return tuple(self.readers)

    def split(self, name: str) -> PersonDataset:
        """Return one split; DataError where there is none, or an annotation is wrong."""
        if name not in self.readers:
            raise no_split(self, self.root, name, "persons")
        if name not in self._read:
            persons = self.readers[name]()
            ignored = tuple(person for person in persons if not person.counted)
            persons = tuple(person for person in persons if person.counted)
            if self.skip_bad:
                found_bad = list(_problems(persons))
                persons = tuple(p for p, bad in zip(persons, found_bad, strict=True) if bad is None)
                report_skipped(self.root, name, found_bad)
            if not persons:
                raise DataError(f"{self.root} ({self.name}): split '{name}' has no persons")
            self._read[name] = PersonDataset(persons, ignored)
        return self._read[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Look at every picture and joint (default all splits); DataError names the first wrong."""
        for name in self.splits if splits is None else splits:
            dataset = self.split(name)
            for problem in () if self.skip_bad else _problems(dataset.persons):
                if problem is not None:
                    raise DataError(f"{problem}; {TODO}")


def read_persons(
    entries: Sequence[Any],
    make: Callable[[int, Any], Person | None],
    *,
    skip_bad: bool,
    where: tuple[Path, str],
) -> tuple[Person, ...]:
    """Make a person of each entry (number, entry) of an annotation file.

    ``make`` returns None for an entry that is none of ours and raises DataError for a wrong one,
    which ends the reading or, with ``skip_bad``, leaves it out. where: file and split.
    """
    persons, problems = [], []
    for number, entry in enumerate(entries):
        try:
            person = make(number, entry)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error}; {TODO}") from error
            problems.append(str(error))
            continue
        if person is not None:
            persons.append(person)
    report_skipped(*where, [*problems, *[None] * len(persons)])
    return tuple(persons)


def _problems(persons: Sequence[Person]) -> Iterable[str | None]:
    """Say for each person what is wrong, or None; every picture is looked at once."""
    images = list(dict.fromkeys(person.image for person in persons))
    sizes = dict(zip(images, on_threads(_size_or_problem, images), strict=True))
    for person in persons:
        size = sizes[person.image]
        if isinstance(size, str):
            yield f"{person.where}: {size}"
        else:
            yield misplaced(person, size) or joint_outside(person, size)


def _size_or_problem(path: Path) -> tuple[int, int] | str:
    try:
        return verify_picture(path)
    except DataError as error:
        return str(error)


def misplaced(person: Person, size: tuple[int, int]) -> str | None:
    """Say so if a picture of ``size`` (width, height) is not what the person is annotated in."""
    width, height = size
    if person.picture not in (None, size):
        stated = "x".join(map(str, person.picture or ()))
        return f"{person.where}: the picture has {width}x{height} pixels; {stated} are stated"
    x0, y0, x1, y1 = person.box
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        x, y = person.centre
        return (
            f"{person.where}: the person about ({x:.0f}, {y:.0f}) lies outside the picture of "
            f"{width}x{height} pixels"
        )
    return None


def joint_outside(person: Person, size: tuple[int, int]) -> str | None:
    """Say which labelled joint lies outside a picture of ``size`` (width, height), or None.

    A pixel of tolerance: labels at the very edge are rounded, and shifted by 1 in some formats.
    """
    width, height = size
    labelled = person.joints[:, 2] > 0
    x, y = person.joints[:, 0], person.joints[:, 1]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    wrong = np.flatnonzero(labelled & ~inside)
    if not len(wrong):
        return None
    first = int(wrong[0])
    return (
        f"{person.where}: joint {first} at ({x[first]:g}, {y[first]:g}); "
        f"wanted it inside {person.image.name} ({width}x{height})"
    )
