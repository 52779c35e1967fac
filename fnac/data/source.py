"""What the rest of fnac knows about a data set: its classes, its splits, its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

IGNORE = 255
"""The mask value that neither the loss nor the metric counts."""


class Dataset(Protocol):
    """One split: pictures and label masks by index."""

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 (3, H, W), RGB, and mask uint8 (H, W), class ids or 255 = ignore."""
        ...

    def id(self, index: int) -> str:
        """Name the sample (a file's stem, a scene's number): for pictures and messages."""
        ...


class DataSource(Protocol):
    """A data set: what ``open_data`` returns."""

    @property
    def name(self) -> str:
        """The reader's name."""
        ...

    @property
    def classes(self) -> list[str]:
        """Class names; the position is the id in the masks."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are, of ``train``, ``val``, ``test``."""
        ...

    def split(self, name: str) -> Dataset:
        """Return one split; raises DataError where the data set has no such split."""
        ...

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Look at every file (of these splits; default all); DataError names the first broken."""
        ...
