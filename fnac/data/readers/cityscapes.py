"""Cityscapes in its standard layout, 19 training classes.

``leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png`` and
``gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png``; a ``labelTrainIds.png`` beside it is used
where there is one (both give the same mask).
"""

from __future__ import annotations

from pathlib import Path

from fnac.errors import DataError

from ..folders import require_folder
from ..sets.labels import LabelTable, plain_labels
from ..sets.listed import ListedSource
from ..sets.masks import Pair, mask_source, warn_without_picture
from ..source import IGNORE

CLASSES = [
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
]  # fmt: skip

# Colours of cityscapesScripts, in the order of CLASSES.
COLOURS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

# Ids of cityscapesScripts (helpers/labels.py) in the order of CLASSES; all others are ignored.
TRAINED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = LabelTable(
    dict.fromkeys((*range(34), 255), IGNORE) | {k: v for v, k in enumerate(TRAINED_IDS)}
)
TRAIN_IDS = plain_labels(len(CLASSES))

_IMAGE_END = "_leftImg8bit.png"


def read_cityscapes(root: Path, *, skip_bad: bool = False) -> ListedSource[Pair]:
    """List ``train`` and ``val``; raises DataError if the layout is a different one."""
    require_folder(root / "leftImg8bit", "the leftImg8bit folder of Cityscapes")
    require_folder(root / "gtFine", "the gtFine folder of Cityscapes")
    pairs = {split: _list_split(root, split) for split in ("train", "val")}
    if not any(pairs.values()):
        raise DataError(
            f"{root}: no image like leftImg8bit/train/CITY/*{_IMAGE_END}; wanted the stock "
            "layout of Cityscapes; unpack both archives into this folder"
        )
    return mask_source("cityscapes", root, CLASSES, pairs, skip_bad, dict(enumerate(COLOURS)))


def _list_split(root: Path, split: str) -> tuple[Pair, ...]:
    pairs = []
    for image in sorted((root / "leftImg8bit" / split).glob(f"*/*{_IMAGE_END}")):
        base = image.name.removesuffix(_IMAGE_END)
        folder = root / "gtFine" / split / image.parent.name
        train_ids = folder / f"{base}_gtFine_labelTrainIds.png"
        if train_ids.is_file():
            pairs.append(Pair(image, train_ids, TRAIN_IDS))
        else:
            pairs.append(Pair(image, folder / f"{base}_gtFine_labelIds.png", LABEL_IDS))
    used = {pair.mask.name.replace("labelTrainIds", "labelIds") for pair in pairs}
    masks = sorted((root / "gtFine" / split).glob("*/*_gtFine_labelIds.png"))
    warn_without_picture([mask for mask in masks if mask.name not in used])
    return tuple(pairs)
