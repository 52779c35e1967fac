"""A plain folder: ``images/NAME.*``, ``masks/NAME.png`` and a list of classes.

With ``images/train`` and ``images/val`` (and ``masks/train``, ``masks/val``) these are the splits.
Without them, a fraction of the images is kept for validation: chosen by file name and the data's
random seed alone, so that every command and every later run keeps the same ones.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fnac.errors import DataError

from ..class_files import (
    checked_classes,
    find_colours,
    packed_colours,
    read_classes,
    read_colours,
)
from ..files import IMAGE_SUFFIXES
from ..folders import list_by_stem, require_folder, split_folders
from ..sets.labels import ColourTable, LabelTable, plain_labels
from ..sets.listed import ListedSource
from ..sets.masks import Pair, list_masks, mask_source
from ..source import IGNORE

IGNORED_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled", "don't care", "dontcare")
"""Classes of a list of colours that are none, where no list of classes says so."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderOptions:
    """What a YAML file may say of a folder.

    classes       names; default: those of ``classes.txt``, one per line
    ignore        ids in the masks that are not counted
    ids           id in the masks -> class name (255: thing); other ids are positions in the list
    colours       file with the masks' colours, relative to the folder; default: the usual ones
    val_fraction  share of the images kept for validation where there are no splits
    """

    classes: Sequence[str] | None = None
    ignore: Sequence[int] = (IGNORE,)
    images: str = "images"
    masks: str = "masks"
    ids: Mapping[int, str] = field(default_factory=dict)
    colours: str | None = None
    val_fraction: float = 0.2


def read_folder(
    root: Path,
    options: FolderOptions | None = None,
    *,
    random_seed: int = 0,
    skip_bad: bool = False,
) -> ListedSource[Pair]:
    """List the images and masks of a folder; raises DataError if folders or classes are missing."""
    options = options or FolderOptions()
    images, masks = root / options.images, root / options.masks
    require_folder(root, "a folder with images/, masks/ and classes.txt")
    require_folder(images, "the folder of images")
    require_folder(masks, "the folder of masks")
    names, labels = _labels(root, options)
    pairs: dict[str, tuple[Pair, ...]]
    folders = split_folders(images)
    if folders:
        homes = split_folders(masks)
        pairs = {
            split: _list_pairs(folder, homes.get(split, masks / folder.name), labels)
            for split, folder in folders.items()
        }
    else:
        everything = _list_pairs(images, masks, labels)
        pairs = _split_off(everything, options.val_fraction, random_seed)
        logger.info(
            "%s: no train/ and val/ folders; %d of %d images (%.0f %%, chosen by file name) are "
            "kept for validation",
            root, len(pairs["val"]), len(everything), 100 * options.val_fraction,
        )  # fmt: skip
    if not any(pairs.values()):
        raise DataError(f"{images}: no images; wanted {', '.join(IMAGE_SUFFIXES)} files")
    return mask_source("folder", root, names, pairs, skip_bad)


def _labels(root: Path, options: FolderOptions) -> tuple[list[str], LabelTable | ColourTable]:
    """Return the class names, and the mapping from ids or colours in masks to classes."""
    classes, ignore, ids = options.classes, options.ignore, options.ids
    palette = find_colours(root) if options.colours is None else root / options.colours
    listing = root / "classes.txt"
    if palette is not None:
        colours = read_colours(palette)
        if classes is not None:
            names = list(classes)
        elif listing.is_file():
            names = read_classes(listing)
        else:
            named = [name for name in colours if name.lower() not in IGNORED_NAMES]
            names = checked_classes(named, str(palette))
        missing = [name for name in names if name not in colours]
        if missing:
            raise DataError(f"{palette}: no colour of class '{missing[0]}'; add it: R G B NAME")
        return names, ColourTable(packed_colours(colours, names), palette.name)
    known = list(classes) if classes is not None else read_classes(listing)
    table = dict(plain_labels(len(known), () if ids else ignore).mapping)
    for stored, name in ids.items():
        if name not in known:
            raise DataError(
                f"ids: {stored}: '{name}' is not a class; wanted one of {', '.join(known)}"
            )
        table[stored] = known.index(name)
    if ids:
        table.update({i: IGNORE for i in ignore if i not in ids})
    return known, LabelTable(table)


def _list_pairs(images: Path, masks: Path, labels: LabelTable | ColourTable) -> tuple[Pair, ...]:
    pictures = list_by_stem(images)
    by_stem = list_masks(masks, pictures)
    return tuple(
        Pair(image, by_stem.get(stem, masks / f"{stem}.png"), labels)
        for stem, image in pictures.items()
    )


def _split_off(
    pairs: tuple[Pair, ...], val_fraction: float, random_seed: int
) -> dict[str, tuple[Pair, ...]]:
    if not 0 < val_fraction < 1:
        raise DataError(f"val_fraction: {val_fraction}; wanted a number between 0 and 1")

    def place(pair: Pair) -> tuple[int, Path]:
        name = f"{random_seed}/{pair.image.stem}"
        return zlib.crc32(name.encode(errors="surrogateescape")), pair.image

    order = sorted(pairs, key=place)
    count = max(1, round(val_fraction * len(pairs))) if len(pairs) > 1 else 0
    kept = {pair.image for pair in order[:count]}
    return {
        "train": tuple(p for p in pairs if p.image not in kept),
        "val": tuple(p for p in pairs if p.image in kept),
    }
