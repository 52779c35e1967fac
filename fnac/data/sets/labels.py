"""From the ids in a mask file to class ids: which are allowed, and what each becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..source import IGNORE


@dataclass(frozen=True)
class LabelTable:
    """Maps file ids 0..255 to class ids; ids outside ``mapping`` are errors in the file."""

    mapping: Mapping[int, int]
    table: npt.NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = np.full(256, IGNORE, dtype=np.uint8)
        for found, becomes in self.mapping.items():
            table[found] = becomes
        object.__setattr__(self, "table", table)

    def apply(self, mask: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Return a new uint8 mask of class ids (255 = ignore), same shape."""
        if mask.dtype != np.uint8:
            mask = np.clip(mask.astype(np.int64), 0, 255)
        return self.table[mask]

    def first_wrong(self, mask: npt.NDArray[np.generic]) -> int | None:
        """Return the lowest id in the mask that is not allowed, or None."""
        if mask.dtype == np.uint8:
            present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        else:
            present = np.unique(mask)
        return next((int(i) for i in present if int(i) not in self.mapping), None)

    @property
    def wanted(self) -> str:
        """The allowed ids in words: ``0..10 or 255 (ignore)``."""
        ignored = sorted(k for k, v in self.mapping.items() if v == IGNORE)
        used = sorted(k for k, v in self.mapping.items() if v != IGNORE)
        text = _ranges(used)
        return f"{text} or {_ranges(ignored)} (ignore)" if ignored else text


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
