"""A plain folder: ``images/NAME.*``, ``masks/NAME.png`` and a list of classes.

With ``images/train`` and ``images/val`` (and ``masks/train``, ``masks/val``) these are the splits.
Without them, a fraction of the pictures is kept for validation: chosen by file name and the data's
seed alone, so that every command and every later run keeps the same ones.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

from fnac.errors import DataError

from ..sets.labels import LabelTable, plain_labels
from ..sets.listed import ListedSource
from ..sets.masks import MASK_SUFFIXES, Pair, list_masks, mask_source
from ..sets.pictures import IMAGE_SUFFIXES, list_by_stem, require_folder
from ..source import IGNORE

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def read_folder(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    ignore: Sequence[int] = (IGNORE,),
    images: str = "images",
    masks: str = "masks",
    val_fraction: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
) -> ListedSource[Pair]:
    """List the pictures; ``classes`` come from ``classes.txt`` (one name a line) unless given.

    Ids in the masks are positions in that list; ``ignore`` ids are not counted. Raises DataError
    where folders or classes are missing.
    """
    require_folder(root, "a folder with images/, masks/ and classes.txt")
    require_folder(root / images, "the folder of pictures")
    require_folder(root / masks, "the folder of masks")
    names = list(classes) if classes is not None else read_classes(root / "classes.txt")
    labels = plain_labels(len(names), ignore)
    pairs: dict[str, tuple[Pair, ...]]
    if any((root / images / split).is_dir() for split in SPLITS):
        pairs = {s: _list_pairs(root / images / s, root / masks / s, labels) for s in SPLITS}
    else:
        everything = _list_pairs(root / images, root / masks, labels)
        pairs = _split_off(everything, val_fraction, seed)
        logger.info(
            "%s: no train/ and val/ folders; %d of %d pictures (%.0f %%, chosen by file name) are "
            "kept for validation",
            root, len(pairs["val"]), len(everything), 100 * val_fraction,
        )  # fmt: skip
    if not any(pairs.values()):
        raise DataError(f"{root / images}: no pictures; wanted {', '.join(IMAGE_SUFFIXES)} files")
    return mask_source("folder", root, names, pairs, skip_bad)


def read_classes(path: Path) -> list[str]:
    """Read class names, one a line, ``#`` starts a comment; raises DataError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; wanted the class names, one a line in the order of their ids; "
            "write it, or give 'classes' in a YAML file as --data"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); wanted class names") from error
    names = [name for line in lines if (name := line.split("#")[0].strip())]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{path}: '{twice}' is listed twice; wanted each class name once")
    if not 2 <= len(names) <= IGNORE:
        raise DataError(f"{path}: {len(names)} class names; wanted 2 to {IGNORE}, one a line")
    return names


def _list_pairs(images: Path, masks: Path, labels: LabelTable) -> tuple[Pair, ...]:
    if not images.is_dir():
        return ()
    pictures = list_by_stem(images, IMAGE_SUFFIXES)
    found = list_masks(masks, pictures, MASK_SUFFIXES)
    return tuple(
        Pair(image, found.get(stem, masks / f"{stem}.png"), labels)
        for stem, image in pictures.items()
    )


def _split_off(
    pairs: tuple[Pair, ...], val_fraction: float, seed: int
) -> dict[str, tuple[Pair, ...]]:
    if not 0 < val_fraction < 1:
        raise DataError(f"val_fraction: {val_fraction}; wanted a number between 0 and 1")
    order = sorted(pairs, key=lambda p: (zlib.crc32(f"{seed}/{p.image.stem}".encode()), p.image))
    count = max(1, round(val_fraction * len(pairs))) if len(pairs) > 1 else 0
    kept = {pair.image for pair in order[:count]}
    return {
        "train": tuple(p for p in pairs if p.image not in kept),
        "val": tuple(p for p in pairs if p.image in kept),
    }
