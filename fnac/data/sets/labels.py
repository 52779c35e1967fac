"""Map the ids in a mask file to class ids, and say which ids are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..source import IGNORE

Ids = npt.NDArray[Any]
"""Ids in a mask file: (H, W) of an integer type."""


@dataclass(frozen=True)
class LabelTable:
    """Maps file ids 0..255 to class ids; ids outside ``mapping`` are errors in the file."""

    mapping: Mapping[int, int]
    table: npt.NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = np.full(256, IGNORE, dtype=np.uint8)
        for label, becomes in self.mapping.items():
            table[label] = becomes
        object.__setattr__(self, "table", table)

    def apply(self, mask: Ids) -> npt.NDArray[np.uint8]:
        """Return a new uint8 mask of class ids (255 = ignore), same shape."""
        if mask.dtype != np.uint8:
            mask = np.clip(mask.astype(np.int64), 0, 255)
        return np.asarray(self.table[mask], np.uint8)

    def wrong(self, mask: Ids) -> str | None:
        """Name the lowest id in the mask that is not allowed; None if all are."""
        if mask.dtype == np.uint8:
            present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        else:
            present = np.unique(mask)
        first = next((int(i) for i in present if int(i) not in self.mapping), None)
        if first is None:
            return None
        return f"label id {first}; wanted {self.allowed}; correct the mask, or the list of classes"

    @property
    def allowed(self) -> str:
        """The allowed ids in words: ``0..10 or 255 (ignore)``."""
        ignored = sorted(k for k, v in self.mapping.items() if v == IGNORE)
        used = sorted(k for k, v in self.mapping.items() if v != IGNORE)
        text = _ranges(used)
        return f"{text} or {_ranges(ignored)} (ignore)" if ignored else text


@dataclass(frozen=True)
class ColourTable:
    """Maps colours (65536 r + 256 g + b) to class ids; other colours are errors in the file.

    where: the file that says so, for messages
    """

    mapping: Mapping[int, int]
    where: str
    _known: Ids = field(init=False, repr=False, compare=False)
    _becomes: npt.NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = sorted(self.mapping)
        object.__setattr__(self, "_known", np.array(known, dtype=np.int64))
        becomes = np.array([self.mapping[colour] for colour in known], dtype=np.uint8)
        object.__setattr__(self, "_becomes", becomes)

    def apply(self, mask: Ids) -> npt.NDArray[np.uint8]:
        """Return a new uint8 mask of class ids (255 = ignore), same shape."""
        places = np.minimum(np.searchsorted(self._known, mask), len(self._known) - 1)
        return np.where(self._known[places] == mask, self._becomes[places], IGNORE).astype(np.uint8)

    def wrong(self, mask: Ids) -> str | None:
        """Name a colour in the mask that is not in the table; None if all are."""
        first = next((int(c) for c in np.unique(mask) if int(c) not in self.mapping), None)
        if first is None:
            return None
        return (
            f"colour {first >> 16} {first >> 8 & 255} {first & 255}; wanted one of {self.where}; "
            "correct the mask, or add the colour"
        )


def plain_labels(classes: int, ignore: Iterable[int] = (IGNORE,)) -> LabelTable:
    """Keep ids 0..classes-1 as they are; ``ignore`` ids become 255."""
    mapping = {i: i for i in range(classes)}
    mapping.update(dict.fromkeys(ignore, IGNORE))
    return LabelTable(mapping)


def _ranges(ids: list[int]) -> str:
    """Write sorted ids as ``0..3, 7, 9..10``."""
    parts: list[str] = []
    start = 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or ids[i] != ids[i - 1] + 1:
            first, last = ids[start], ids[i - 1]
            parts.append(str(first) if first == last else f"{first}..{last}")
            start = i
    return ", ".join(parts)
