"""A data set mapped to the classes of a network that was made for another data set.

Which class of the data set is which of the network says a YAML file: name in the data set: name in
the network; null: not measured. A class that it does not name goes by its own name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from fnac.errors import DataError, UsageError
from fnac.models.yaml_text import load_yaml

from ..folders import same_spelling
from ..loader import Subset
from ..source import IGNORE, Dataset, DataSource, Sample
from .boxes import BoxDataset, BoxPicture

BY_NAME = "by-name"
"""Instead of a file: every class keeps its own name."""
OPTION = "--classes-map"


def read_class_map(
    given: str, data: Sequence[str], network: Sequence[str]
) -> tuple[int | None, ...]:
    """Return the id in the network of each class of the data set; None: it is not measured.

    given  path of the YAML file, or ``by-name``

    Raises UsageError for a file that is none, a name that neither side has, a map of nothing.
    """
    said = {} if given == BY_NAME else _read(Path(given))
    places = {name: index for index, name in enumerate(network)}
    for name, becomes in said.items():
        if name not in data:
            raise UsageError(
                f"{OPTION} {given}: {name!r} is not a class of the data set; it has {_listed(data)}"
            )
        if becomes is not None and becomes not in places:
            raise UsageError(
                f"{OPTION} {given}: {becomes!r} is not a class of the network; it has "
                f"{_listed(network)}"
            )
    indices = tuple(places.get(said[n] or "" if n in said else n) for n in data)
    if all(place is None for place in indices):
        raise UsageError(
            f"{OPTION} {given}: no class of the data set ({_listed(data)}) becomes one of the "
            f"network ({_listed(network)})"
        )
    return indices


@dataclass(frozen=True)
class MappedSource:
    """``source`` in other classes: ``table`` has for each class its new id, None: not measured."""

    source: DataSource
    classes: list[str]
    table: tuple[int | None, ...]
    task: str
    _splits: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The reader's name."""
        return self.source.name

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set."""
        return self.source.splits

    def split(self, name: str) -> Dataset:
        """Return one split; DataError if nothing of it is left."""
        if name not in self._splits:
            self._splits[name] = self._mapped(self.source.split(name), name)
        return self._splits[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check every file of the data set."""
        self.source.check(splits)

    def _mapped(self, dataset: Dataset, split: str) -> Dataset:
        match self.task:
            case "seg":
                ids = np.full(256, IGNORE, np.uint8)
                ids[: len(self.table)] = [IGNORE if t is None else t for t in self.table]
                return MappedMasks(dataset, torch.from_numpy(ids))
            case "det" if isinstance(dataset, BoxDataset):
                return BoxDataset(tuple(self._boxes(one) for one in dataset.pictures))
            case "cls":
                return self._images(dataset, split)
        raise UsageError(f"{OPTION}: known for seg, cls and det of annotated images")

    def _boxes(self, picture: BoxPicture) -> BoxPicture:
        new = np.array([-1 if t is None else t for t in self.table], np.float32)
        ids = new[picture.boxes[:, 4].astype(np.int64)]
        boxes = np.concatenate([picture.boxes[:, :4], ids[:, None]], axis=1)
        kept = ids >= 0
        areas, boxes = picture.areas[kept], boxes[kept]
        ignored = picture.ignored[new[picture.ignored[:, 4].astype(np.int64)] >= 0].copy()
        ignored[:, 4] = new[ignored[:, 4].astype(np.int64)]
        return dataclasses.replace(picture, boxes=boxes, areas=areas, ignored=ignored)

    def _images(self, dataset: Dataset, split: str) -> Dataset:
        ids = [self.table[int(dataset[index][1])] for index in range(len(dataset))]
        kept = tuple(index for index, new in enumerate(ids) if new is not None)
        if not kept:
            raise DataError(
                f"{self.name}: no image of split '{split}' is of a class that is mapped"
            )
        return MappedImages(Subset(dataset, kept), tuple(new for new in ids if new is not None))


@dataclass(frozen=True)
class MappedMasks:
    """Masks through a table uint8 (256,)."""

    dataset: Dataset
    table: Tensor

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and mask uint8 (H, W) in the new classes."""
        image, mask = self.dataset[index]
        return image, self.table[mask.long()]

    def id(self, index: int) -> str:
        """Name the sample as the dataset does."""
        return self.dataset.id(index)


@dataclass(frozen=True)
class MappedImages:
    """Images with other class ids."""

    dataset: Dataset
    ids: tuple[int, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and the new class id int64 ()."""
        return self.dataset[index][0], torch.tensor(self.ids[index])

    def id(self, index: int) -> str:
        """Name the sample as the dataset does."""
        return self.dataset.id(index)


def same_names(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether two lists name the same classes in the same order, whatever their spelling."""
    return [_spelled(name) for name in one] == [_spelled(name) for name in other]


def _spelled(name: str) -> str:
    return "".join(letter for letter in same_spelling(name).casefold() if letter not in " _-")


def _read(path: Path) -> Mapping[str, str | None]:
    try:
        loaded: Any = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise UsageError(
            f"{OPTION} {path}: not a readable YAML file ({words}); wanted lines of 'name in the "
            f"data set: name in the network', or the word {BY_NAME}"
        ) from error
    if not isinstance(loaded, dict):
        raise UsageError(
            f"{OPTION} {path}: wanted lines of 'name in the data set: name in the network'"
        )
    return {str(name): None if new is None else str(new) for name, new in loaded.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
