"""CamVid, 11 classes and void (label 11, ignored), masks whose palette index is the class.

Two layouts: ``images/SPLIT/NAME.jpg`` + ``labels/SPLIT/NAME.png`` with the names in ``SPLIT.txt``,
and SegNet's ``SPLIT/NAME.png`` + ``SPLITannot/NAME.png``.
"""

from __future__ import annotations

from pathlib import Path

from fnac.errors import DataError

from ..folders import list_by_stem, names_in_list, require_folder
from ..sets.labels import plain_labels
from ..sets.listed import ListedSource
from ..sets.masks import Pair, list_masks, mask_source
from ..source import IGNORE

CLASSES = [
    "sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car",
    "pedestrian", "bicyclist",
]  # fmt: skip
LABELS = plain_labels(len(CLASSES), ignore=(len(CLASSES), IGNORE))


def read_camvid(root: Path, *, skip_bad: bool = False) -> ListedSource[Pair]:
    """List the splits; raises DataError if the layout is a different one."""
    require_folder(root, "the CamVid folder")
    pairs = {split: _list_split(root, split) for split in ("train", "val", "test")}
    if not any(pairs.values()):
        raise DataError(
            f"{root}: neither images/train nor train; wanted images/SPLIT and labels/SPLIT, or "
            "SegNet's SPLIT and SPLITannot; check the path in --data"
        )
    return mask_source("camvid", root, CLASSES, pairs, skip_bad)


def _list_split(root: Path, split: str) -> tuple[Pair, ...]:
    images, masks = root / "images" / split, root / "labels" / split
    if not images.is_dir():
        images, masks = root / split, root / f"{split}annot"
    if not images.is_dir():
        return ()
    by_stem = list_by_stem(images)
    names, known = list(by_stem), dict[str, Path]()
    listing = root / f"{split}.txt"
    if listing.is_file() and images.parent.name == "images":
        names = list(names_in_list(listing, by_stem.__contains__))
    else:
        known = list_masks(masks, by_stem)
    suffix = next(iter(by_stem.values())).suffix if by_stem else ".jpg"
    return tuple(
        Pair(
            by_stem.get(name, images / f"{name}{suffix}"),
            known.get(name, masks / f"{name}.png"),
            LABELS,
        )
        for name in names
    )
