"""The content of a data set by class and split, determined once before training.

Files that open are not enough: a class that no mask holds, masks of 0 and 255, a validation part
without an object end in numbers that mean nothing. The account is printed, kept with the run, and
judged here: refused where nothing can be trained on or measured, else what is missing is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnac.errors import DataError
from fnac.findings import Finding, written
from fnac.text import human, table

from .sets.doubts import doubts
from .sets.joints import JointSet
from .sets.listed import Counts, ListedSource, Seen
from .sets.person_doubts import mirror_findings
from .source import IGNORE, Dataset, DataSource

logger = logging.getLogger(__name__)

UNITS = {"seg": "pixels", "det": "boxes", "pose": "joints", "cls": "images"}
"""Task -> what is counted of each class."""
KINDS = {"pose": "joint"}
"""Task -> what a class is called, where it is not a class."""
IGNORED_SHARE = 0.2
"""Share of ignored pixels above which fnac warns."""
MADE_UP = 64
"""Samples of a split that are counted where they are no files, but painted on demand."""
ROWS = 24
"""Classes that the printed table shows; of more, the rarest."""
NAMED = 8
"""Names in a sentence."""


@dataclass(frozen=True)
class SplitAccount:
    """One split.

    samples    images, or persons
    amounts    of each class: pixels, boxes, joints, images
    samples_with  samples in which each class occurs
    ignored    pixels, boxes or persons that neither loss nor metric counts
    unlabelled samples without anything of any class
    counted    samples that were counted: all, but for data that are made up when they are asked for
    """

    name: str
    samples: int
    amounts: tuple[int, ...]
    samples_with: tuple[int, ...]
    ignored: int
    unlabelled: int
    counted: int

    @property
    def whole(self) -> bool:
        """Whether every sample was counted."""
        return self.counted == self.samples

    @property
    def total(self) -> int:
        """Everything that is labelled."""
        return sum(self.amounts)


@dataclass(frozen=True)
class DataAccount:
    """The content of a data set.

    measured  the split that the metric is of, if one is measured
    doubtful  what only all samples together show
    """

    name: str
    task: str
    classes: tuple[str, ...]
    splits: tuple[SplitAccount, ...]
    measured: str | None
    doubtful: tuple[Finding, ...] = ()

    @property
    def unit(self) -> str:
        """What is counted for each class."""
        return UNITS[self.task]

    def split(self, name: str) -> SplitAccount:
        """Return the account of one split."""
        return next(split for split in self.splits if split.name == name)

    def refuse(self) -> None:
        """Raise DataError if there is nothing to train on or nothing to measure."""
        for name, verb in (("train", "trained on"), (self.measured, "measured")):
            split = self.split(name) if name is not None else None
            if split is not None and split.whole and not split.total:
                raise DataError(
                    f"{self.name}: nothing is labelled in '{name}': {self._no_label(split)}; "
                    f"wanted {self._unit()} to be {verb}{self._todo(split)}"
                )
        train = self.split("train")
        there = [name for name, count in zip(self.classes, train.amounts, strict=True) if count]
        alone = self.task in ("seg", "cls") and len(there) == 1 and len(self.classes) > 1
        if alone and train.whole:
            raise DataError(
                f"{self.name}: '{there[0]}' alone occurs in 'train', {self._names(train)} never; "
                f"wanted at least two classes to tell apart{self._todo(train)}"
            )

    def findings(self) -> tuple[Finding, ...]:
        """Return findings on what is missing; () if nothing is."""
        findings = []
        if self.measured is None and all(split.name != "val" for split in self.splits):
            there = ", ".join(f"'{split.name}'" for split in self.splits)
            findings.append(
                Finding(
                    "nothing-measured",
                    f"data: there is no split 'val' (found {there}): nothing says how good the "
                    "network gets; keep a part of the training set apart as 'val'",
                )
            )
        for kind, name, of_one, of_many in (
            ("class-never-trained", "train", "it cannot be trained", "they cannot be trained"),
            (
                "class-not-measured", self.measured,
                "the metric says nothing of it", "the metric says nothing of them",
            ),
        ):  # fmt: skip
            split = self.split(name) if name is not None else None
            if split is not None and split.whole and not all(split.amounts):
                one, count = KINDS.get(self.task, "class"), split.amounts.count(0)
                names = self._names(split)
                if count == 1:
                    told = f"{one} {names} never occurs in '{name}': {of_one}"
                else:
                    many = "classes" if one == "class" else f"{one}s"
                    told = f"{count} {many} never occur in '{name}': {of_many} ({names})"
                findings.append(Finding(kind, f"data: {told}"))
        train = self.split("train")
        share = train.ignored / max(1, train.ignored + train.total)
        if self.task == "seg" and share > IGNORED_SHARE:
            findings.append(
                Finding(
                    "ignored-share",
                    f"data: {share:.0%} of the pixels of 'train' are ignored: neither the loss nor "
                    f"the metric counts them{self._todo(train)}",
                )
            )
        return (*findings, *self.doubtful)

    def as_json(self) -> dict[str, Any]:
        """Return what ``data.json`` of a run holds."""
        return {
            "name": self.name,
            "task": self.task,
            "unit": self.unit,
            "measured": self.measured,
            "classes": list(self.classes),
            "splits": {
                split.name: {
                    "samples": split.samples,
                    "counted": split.counted,
                    "unlabelled": split.unlabelled,
                    "ignored": split.ignored,
                    "amounts": list(split.amounts),
                    "samples_with": list(split.samples_with),
                }
                for split in self.splits
            },
            "findings": written(self.findings()),
        }

    def as_text(self) -> str:
        """Return the table to print: one row per class, its share or count in each split."""
        counts = ", ".join(f"{split.name} {split.samples:,}" for split in self.splits)
        samples = "persons" if self.task == "pose" else "images"
        heads = [KINDS.get(self.task, "class")]
        for split in self.splits:
            heads.append(f"{split.name} {self.unit}")
            heads += [] if self.task == "cls" else [samples]
        order = sorted(range(len(self.classes)), key=lambda i: self.splits[0].amounts[i])[:ROWS]
        rows = [self._row(self.classes[i], i) for i in sorted(order)]
        if self.task == "seg":
            shares = [(s.ignored, s.ignored + s.total) for s in self.splits]
            cells = [cell for part, whole in shares for cell in (_share(part, whole), "")]
            rows.append(["(ignored)", *cells])
        lines = [f"data    {self.name}: {counts} {samples}", table(heads, rows)]
        for split in self.splits:
            lines += self._without(split)
            if not split.whole:
                lines.append(f"{split.name}: counted are the first {split.counted} {samples}")
        if len(order) < len(self.classes):
            lines.append(f"the {len(order)} rarest of {len(self.classes)}; data.json has all")
        return "\n".join(lines)

    def _without(self, split: SplitAccount) -> list[str]:
        """Say how many samples of a split have nothing of any class, where that is not an error."""
        lines = []
        if self.task == "det" and split.ignored:
            lines = [f"{split.name}: {split.ignored:,} boxes of crowds, or difficult, are ignored"]
        if not split.unlabelled or self.task == "cls":
            return lines
        count = f"{split.unlabelled:,}"
        if self.task == "pose":
            told = f"{count} more without a labelled joint, or crowds: not trained on"
        elif self.task == "det":
            told = f"{count} of {split.counted:,} images hold no box: background alone"
        else:
            told = f"{count} of {split.counted:,} masks are ignored as a whole"
        return [*lines, f"{split.name}: {told}"]

    def _row(self, name: str, place: int) -> list[str]:
        cells = [name]
        for split in self.splits:
            amount = split.amounts[place]
            cells.append(_share(amount, split.total) if self.task == "seg" else f"{amount:,}")
            cells += [] if self.task == "cls" else [f"{split.samples_with[place]:,}"]
        return cells

    def _names(self, split: SplitAccount) -> str:
        missing = [n for n, amount in zip(self.classes, split.amounts, strict=True) if not amount]
        return _listed(missing)

    def _no_label(self, split: SplitAccount) -> str:
        if self.task == "seg":
            return f"all {human(split.ignored)} pixels of {split.samples} masks are ignored"
        if self.task == "det" and split.ignored:
            return f"all {split.ignored} boxes are crowds or difficult, which are ignored"
        return f"{split.samples} images without {'a box' if self.task == 'det' else 'a label'}"

    def _unit(self) -> str:
        return {"seg": "pixels of a class", "det": "boxes", "pose": "joints"}.get(
            self.task, "images of a class"
        )

    def _todo(self, split: SplitAccount) -> str:
        if self.task == "seg" and split.ignored:
            missing = [
                n for n, amount in zip(self.classes, split.amounts, strict=True) if not amount
            ]
            name = missing[0] if missing else self.classes[-1]
            return (
                f"; {_share(split.ignored, split.ignored + split.total)} of the pixels are "
                f"{IGNORE} or another id that is ignored: if that id is a class, say so in a YAML "
                f"file as --data (reader: folder, path: ..., ids: {{{IGNORE}: {name}}})"
            )
        if self.task == "det":
            return "; check the annotations, and 'classes' in a YAML file as --data"
        return "; correct the labels, or the list of classes"


def take_account(
    source: DataSource, task: str, measured: str | None, splits: Sequence[str] | None = None
) -> DataAccount:
    """Check and count every file and label (of these splits; default all).

    Raises DataError for what is broken, and for a split that is missing or empty.
    """
    names = tuple(source.splits if splits is None else splits)
    for name in ("train", measured):
        if name is not None and not len(source.split(name)):
            raise DataError(f"{source.name}: split '{name}' is empty; it is needed; add samples")
    source.check(names)
    classes = tuple(source.classes)
    joints = getattr(source, "joints", None)
    accounts = tuple(_account(source, name, task, len(classes)) for name in names)
    doubtful = mirror_findings(joints) if isinstance(joints, JointSet) else ()
    if isinstance(source, ListedSource):
        doubtful += tuple(doubts(source, measured))
    return DataAccount(source.name, task, classes, accounts, measured, doubtful)


def checked_account(
    source: DataSource, task: str, measured: str | None, *, shown: bool = True
) -> DataAccount:
    """Check and count a data set, refuse what cannot be used, and print the summary once."""
    account = take_account(source, task, measured)
    account.refuse()
    if shown:
        logger.info("%s", account.as_text(), extra={"lines": True})
    for finding in account.findings():
        logger.warning("%s", finding.text)
    return account


def class_amounts(source: DataSource, task: str) -> tuple[int, ...]:
    """Return how much of each class the training set holds: pixels, boxes, joints or images."""
    return _account(source, "train", task, len(source.classes)).amounts


def _account(source: DataSource, name: str, task: str, classes: int) -> SplitAccount:
    dataset = source.split(name)
    listed = isinstance(source, ListedSource)
    if isinstance(source, ListedSource):
        seen: Sequence[Seen] = source.seen(name)
    else:
        some = range(min(len(dataset), MADE_UP))
        seen = [_seen(dataset, index, task, classes) for index in some]
    amounts, present = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    ignored = unlabelled = 0
    for one in seen:
        counts = np.zeros(classes, np.int64)
        counts[: min(classes, len(one.counts))] = one.counts[:classes]
        amounts += counts
        present += counts > 0
        ignored += one.ignored
        unlabelled += not counts.any() and not (task == "det" and one.ignored)
    return SplitAccount(
        name,
        len(dataset),
        tuple(map(int, amounts)),
        tuple(map(int, present)),
        ignored,
        unlabelled,
        counted=len(dataset) if listed else len(seen),
    )


def _seen(dataset: Dataset, index: int, task: str, classes: int) -> Seen:
    """Count the classes of a sample's truth."""
    truth = dataset[index][1].numpy()
    if task == "seg":
        pixels = np.bincount(truth.ravel(), minlength=IGNORE + 1)
        return Seen(None, pixels[:IGNORE], int(pixels[IGNORE]))
    if task == "pose":
        return Seen(None, (truth[:classes, 2] > 0).astype(np.int64))
    labels: Counts = (truth[:, 4] if task == "det" else truth.reshape(-1)).astype(np.int64)
    return Seen(None, np.bincount(labels, minlength=classes))


def _share(part: int, whole: int) -> str:
    """Format a share; a share above zero is never shown as zero."""
    if not part:
        return "0"
    share = 100 * part / whole
    return "<0.01%" if share < 0.01 else f"{share:.2f}%"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
