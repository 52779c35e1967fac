"""A data set whose splits are lists of samples; decides what happens to wrong ones.

A reader lists the samples of each split and says how one of them is looked at; refusing the data
set for the first wrong sample, or leaving wrong ones out and counting them, is the same for all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError
from fnac.passes.names import did_you_mean
from fnac.progress import StepProgress
from fnac.ranks import is_first_rank

from ..class_files import Colour
from ..source import Dataset

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Found = TypeVar("Found")
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """The result of checking one sample.

    problem  what is wrong, in a sentence; None: nothing
    counts   int64 (C,): how much of each class is labelled in it (pixels, boxes, joints; 1 for the
             class of a whole image); where something is wrong, or nothing can be counted: empty
    ignored  pixels, boxes or persons in it that neither the loss nor the metric counts
    palette  of a mask with a palette: index -> colour (65536 r + 256 g + b) of each id in it
    """

    problem: str | None = None
    counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0
    palette: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed(Generic[Item]):
    """What a reader found in one split: its samples, and a sentence for each omitted one."""

    items: tuple[Item, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListedSource(Generic[Item]):
    """A data set: for each split, a function that lists its samples, called on first use.

    problem   looks at the files of one sample
    dataset   makes the split of its samples
    holds     what a split is made of, in the plural; for messages
    layout    how a split is stored, with ``{split}`` in it; None: as the reader has it
    skip_bad  leave out what is wrong and say how much, instead of raising DataError
    colours   of the classes by id, where those who made the data set chose them
    """

    name: str
    root: Path
    classes: list[str]
    items: Mapping[str, Callable[[], Listed[Item]]]
    problem: Callable[[Item], Seen]
    dataset: Callable[[tuple[Item, ...]], Dataset]
    holds: str = "images"
    layout: str | None = None
    skip_bad: bool = False
    colours: Mapping[int, Colour] = field(default_factory=dict)
    _splits: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)
    _kept: dict[str, tuple[Item, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _seen: dict[str, tuple[Seen, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with a list of samples."""
        return tuple(self.items)

    def split(self, name: str) -> Dataset:
        """Return one split; DataError if it does not exist or an annotation is wrong."""
        if name not in self.items:
            raise self._no_split(name)
        if name not in self._splits:
            listing = self.items[name]()
            if listing.problems and not self.skip_bad:
                raise _refused(listing.problems)
            _report(self.root, f"annotations of '{name}'", listing.problems)
            kept = self._without_bad(name, listing.items) if self.skip_bad else listing.items
            dataset = self.dataset(kept)
            if not len(dataset):
                others = f", of {len(kept)} annotated" if kept else ""
                raise DataError(
                    f"{self.root} ({self.name}): split '{name}' has no {self.holds}{others}"
                )
            self._kept[name], self._splits[name] = kept, dataset
        return self._splits[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check every file (of these splits; default all); DataError names the first broken one."""
        for name in self.splits if splits is None else splits:
            problems = [seen.problem for seen in self.seen(name) if seen.problem is not None]
            if problems:
                raise _refused(problems)

    def seen(self, name: str) -> tuple[Seen, ...]:
        """Return the result of checking each sample of a split; each is checked once."""
        self.split(name)
        if name not in self._seen:
            self._seen[name] = tuple(on_threads(self.problem, self._kept[name]))
        return self._seen[name]

    def kept(self, name: str) -> tuple[Item, ...]:
        """Return the samples of a split, as its reader listed them."""
        self.split(name)
        return self._kept[name]

    def _without_bad(self, name: str, items: tuple[Item, ...]) -> tuple[Item, ...]:
        seen = tuple(on_threads(self.problem, items))
        right = [one.problem is None for one in seen]
        problems = [one.problem for one in seen if one.problem is not None]
        _report(self.root, f"of {len(items)} samples of '{name}'", problems)
        self._seen[name] = tuple(one for one, fine in zip(seen, right, strict=True) if fine)
        return tuple(item for item, fine in zip(items, right, strict=True) if fine)

    def _no_split(self, split: str) -> DataError:
        known = ", ".join(self.splits) or "no split at all"
        layout = f"the {self.name} reader expects" if self.layout is None else None
        return DataError(
            f"{self.root} ({self.name}): found {known}; wanted {self.holds} for '{split}'"
            f"{did_you_mean(split, self.splits)}; "
            f"add them as {layout or (self.layout or '').format(split=split)}"
        )


def on_threads(look: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
    """Yield ``look`` of each item, in order; a few threads work ahead by 64 items.

    How far they are is shown, for a whole data set takes minutes.
    """
    workers, count = min(8, os.cpu_count() or 1), len(items)
    with (
        StepProgress("check", count, shown=is_first_rank(), unit="file", brief=True) as progress,
        ThreadPoolExecutor(workers, thread_name_prefix="fnac-check") as pool,
    ):
        for start in range(0, count, 64):
            yield from pool.map(look, items[start : start + 64])
            progress.advance(min(start + 64, count))


def files_of(
    splits: Mapping[str, Sequence[Item]],
) -> dict[str, Callable[[], Listed[Item]]]:
    """Return the lists of splits whose samples are already known; empty ones are dropped."""
    return {name: partial(Listed, tuple(items)) for name, items in splits.items() if items}


def _refused(problems: Sequence[str]) -> DataError:
    more = f" ({len(problems) - 1} more are wrong)" if len(problems) > 1 else ""
    return DataError(f"{problems[0]}{more}")


def _report(root: Path, what: str, problems: Sequence[str]) -> None:
    if problems:
        logger.warning(
            "%s: %d %s are left out; the first: %s", root, len(problems), what, problems[0]
        )
