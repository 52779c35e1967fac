"""Classification data sets with one folder per class.

``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (or ``test``), as torchvision's ImageFolder reads
each, in folders below as well; or ``CLASS/*.jpg`` without splits: then a fraction is kept for
validation, chosen by file name and the data's random seed. Classes are the folders' names in
alphabetical order, or those of ``classes.txt`` (one name per line) in that order.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fnac.errors import DataError

from ..class_files import read_classes
from ..files import IMAGE_SUFFIXES, read_image, verify_image
from ..folders import images_below, is_hidden, require_folder, same_spelling, split_folders
from ..sets.listed import ListedSource, Seen, files_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledFile:
    """An image, its class id and the class's name."""

    image: Path
    label: int
    name: str


@dataclass(frozen=True)
class ClassDataset:
    """One split of images in class folders."""

    files: tuple[LabelledFile, ...]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample: image uint8 (3, H, W), class id int64 ()."""
        file = self.files[index]
        image = torch.from_numpy(read_image(file.image)).permute(2, 0, 1)
        return image, torch.tensor(file.label)

    def id(self, index: int) -> str:
        """Return class folder and file name."""
        file = self.files[index]
        return f"{file.name}-{file.image.stem}"


def read_class_folders(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    random_seed: int = 0,
    skip_bad: bool = False,
) -> ListedSource[LabelledFile]:
    """List the images; ``classes``: their order, instead of ``classes.txt`` or the alphabet.

    Raises DataError where there are no class folders, or one that is not in the list.
    """
    require_folder(root, "a folder with train/CLASS/ and val/CLASS/, or CLASS/")
    folders = {} if _is_class_folder_alone(root) else split_folders(root)
    below = {split: _by_class(folder) for split, folder in (folders or {"": root}).items()}
    named = sorted({name for classes_below in below.values() for name in classes_below})
    listing = root / "classes.txt"
    if classes is None and listing.is_file():
        classes = read_classes(listing)
        plain = read_classes(listing, numbered=False)
        if not set(named) <= set(classes) and set(named) <= set(plain):
            classes = plain  # folders called "1 euro", "2 euros"
    names = list(classes) if classes is not None else named
    if len(names) < 2 or not set(named) <= set(names):
        extra = sorted(set(named) - set(names))
        if extra:
            told = (
                f"class folders {', '.join(extra)} are not among the classes; correct classes.txt"
            )
        elif len(names) < 2 and named:
            told = f"one class folder alone, {named[0]}; wanted at least two to tell apart"
            inner = next((path for path in root.iterdir() if path.name == named[0]), None)
            if inner is not None and sum(path.is_dir() for path in inner.iterdir()) > 1:
                told += f" (is the data set folder:{inner}?)"
        else:
            told = (
                "no class folder with images in it; wanted train/CLASS/ and val/CLASS/, or CLASS/"
            )
        raise DataError(f"{root}: {told}; check the path in --data")
    places = {name: place for place, name in enumerate(names)}
    files = {
        split: tuple(
            LabelledFile(image, places[name], name)
            for name in names
            for image in classes_below.get(name, ())
        )
        for split, classes_below in below.items()
    }
    _tell_left_out(root, folders, below)
    if not folders:
        files = _split_off(root, files[""], val_fraction, random_seed)
    if not any(files.values()):
        raise DataError(f"{root}: no images; wanted {', '.join(IMAGE_SUFFIXES)} files")
    return ListedSource(
        "folder", root, names, files_of(files), partial(_look, len(names)), ClassDataset,
        layout="{split}/CLASS/*.jpg", skip_bad=skip_bad,
    )  # fmt: skip


def _tell_left_out(
    root: Path, folders: Mapping[str, Path], below: Mapping[str, Mapping[str, Sequence[Path]]]
) -> None:
    """Warn of folders with images beside those of the splits, and of a split without classes."""
    if not folders:
        return
    others = [path for path in sorted(root.iterdir()) if path.is_dir()]
    alone = [
        path for path in others if path not in folders.values() and not is_hidden(Path(path.name))
    ]
    alone += [folder for split, folder in folders.items() if not below[split]]
    for path in alone:
        if count := sum(1 for _ in images_below(path)):
            logger.warning(
                "%s: its %d images are not read: wanted train, val or test, with a folder of each "
                "class", path, count,
            )  # fmt: skip


def _is_class_folder_alone(root: Path) -> bool:
    """Say whether ``train`` or ``test`` is a class: with images of its own, beside other classes.

    Folders of splits hold folders.
    """
    splits = list(split_folders(root).values())
    others = [path for path in root.iterdir() if path.is_dir() and path not in splits]
    return (
        bool(splits)
        and not any(child.is_dir() for folder in splits for child in folder.iterdir())
        and any(any(images_below(p)) for p in others if not is_hidden(Path(p.name)))
    )


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images below each class's folder, at any depth; warn of empty folders."""
    by_class: dict[str, list[Path]] = {}
    empty = []
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        if is_hidden(Path(home.name)):
            continue
        images = list(images_below(home))
        if images:
            by_class.setdefault(same_spelling(home.name), []).extend(images)
        else:
            empty.append(home.name)
    if empty:
        logger.warning("%s: no image below %s: no class", folder, ", ".join(empty))
    loose = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if loose and by_class:
        logger.warning(
            "%s: %d images beside the class folders are not read (%s)", folder, len(loose), loose[0]
        )
    return by_class


def _split_off(
    root: Path, files: Sequence[LabelledFile], val_fraction: float, random_seed: int
) -> dict[str, tuple[LabelledFile, ...]]:
    """Keep the same share of every class, so that none is missing on either side."""
    if not 0 < val_fraction < 1:
        raise DataError(f"val_fraction: {val_fraction}; wanted a number between 0 and 1")
    by_class: dict[int, list[LabelledFile]] = {}
    for file in files:
        by_class.setdefault(file.label, []).append(file)
    kept: set[Path] = set()
    for members in by_class.values():
        order = sorted(members, key=lambda f: _rank(random_seed, f))
        count = max(1, round(val_fraction * len(members))) if len(members) > 1 else 0
        kept.update(file.image for file in order[:count])
    logger.info(
        "%s: no train/ and val/ folders; %d of %d images (%.0f %% of each class, chosen by file "
        "name) are kept for validation", root, len(kept), len(files), 100 * val_fraction,
    )  # fmt: skip
    return {
        "train": tuple(f for f in files if f.image not in kept),
        "val": tuple(f for f in files if f.image in kept),
    }


def _rank(random_seed: int, file: LabelledFile) -> int:
    return zlib.crc32(f"{random_seed}/{file.image.stem}".encode(errors="surrogateescape"))


def _look(classes: int, file: LabelledFile) -> Seen:
    try:
        verify_image(file.image)
    except DataError as error:
        return Seen(str(error))
    return Seen(None, np.eye(classes, dtype=np.int64)[file.label])
