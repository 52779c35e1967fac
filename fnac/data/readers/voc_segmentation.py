"""Pascal VOC segmentation in its standard layout, background and 20 classes.

``ImageSets/Segmentation/{train,val,test}.txt``, ``JPEGImages/NAME.jpg`` and
``SegmentationClass/NAME.png`` (palette index = class, 255 = border, ignored), in the folder
itself or in ``VOC20??`` below it (``VOCdevkit``).
"""

from __future__ import annotations

from pathlib import Path

from fnac.errors import DataError

from ..class_files import COLOUR_FILES, read_classes, read_colours
from ..files import is_there
from ..folders import image_named, names_in_list, require_folder
from ..sets.labels import plain_labels
from ..sets.listed import ListedSource
from ..sets.masks import Pair, mask_source

CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]  # fmt: skip
LABELS = plain_labels(len(CLASSES))
MASKS = "SegmentationClass"
OWN_CLASSES = (*COLOUR_FILES, "classes.txt", "labels.txt")
"""Files that name the classes of a data set in VOC's layout which is not VOC."""


def read_voc_segmentation(root: Path, *, skip_bad: bool = False) -> ListedSource[Pair]:
    """List the splits; raises DataError if the layout is a different one."""
    require_folder(root, "the VOC folder")
    folder = _year_folder(root)
    listing = next((folder / name for name in OWN_CLASSES if (folder / name).is_file()), None)
    if listing is not None and not _names_vocs(listing):
        raise DataError(
            f"{listing}: VOC's segmentation has classes of its own ({', '.join(CLASSES[:3])}, ...);"
            f" read others as --data folder:{folder} with a YAML file (reader: folder, images: "
            f"JPEGImages, masks: {MASKS}), which takes this list"
        )
    pairs = {split: _list_split(folder, split) for split in ("train", "val", "test")}
    if not any(pairs.values()):
        raise DataError(
            f"{folder / 'ImageSets/Segmentation'}: no train.txt, val.txt or test.txt with names; "
            "wanted the lists of VOC's segmentation task; check the path in --data"
        )
    return mask_source("voc", folder, CLASSES, pairs, skip_bad)


def _names_vocs(listing: Path) -> bool:
    """Say whether a list of classes has no other than VOC's; "border" (CVAT's "ignored") is one."""
    try:
        names = (
            list(read_colours(listing))
            if listing.name in COLOUR_FILES
            else read_classes(listing, least=1)
        )
    except DataError:
        return False
    known = {*CLASSES, "border", "ignored", "void", "_background_", "__ignore__"}
    return {name.lower() for name in names} <= known


def _year_folder(root: Path) -> Path:
    if (root / MASKS).is_dir():
        return root
    years = [p.parent for p in sorted(root.glob(f"VOC20??/{MASKS}"))]
    years += [p.parent for p in sorted(root.glob(f"VOCdevkit/VOC20??/{MASKS}"))]
    if not years:
        raise DataError(
            f"{root}: no {MASKS} folder, here or in VOC20??; wanted VOC's segmentation masks; "
            "check the path in --data (a detection set is read with --task det)"
        )
    if len(years) > 1:
        raise DataError(
            f"{root}: {', '.join(year.name for year in years)}; wanted one year; "
            f"give its own path, such as {years[-1]}"
        )
    return years[0]


def _list_split(folder: Path, split: str) -> tuple[Pair, ...]:
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        return ()
    names = names_in_list(listing, lambda name: is_there(folder / MASKS / f"{name}.png"))
    images = folder / "JPEGImages"
    return tuple(
        Pair(_image(images, name), folder / MASKS / f"{name}.png", LABELS) for name in names
    )


def _image(images: Path, name: str) -> Path:
    """Return the image of a name in a list: a JPEG, or the file that exists instead."""
    file = image_named(images, name)
    return file if is_there(file) else images / f"{name}.jpg"
