"""ADE20K scene parsing (SceneParse150) in its standard layout, 150 classes.

``images/{training,validation}/NAME.jpg``, ``annotations/{training,validation}/NAME.png`` with ids
1..150 and 0 for everything else (ignored), and ``objectInfo150.txt`` with the names.
"""

from __future__ import annotations

from pathlib import Path

from fnac.errors import DataError

from ..files import read_text
from ..folders import list_by_stem, require_folder
from ..sets.labels import LabelTable
from ..sets.listed import ListedSource
from ..sets.masks import Pair, list_masks, mask_source
from ..source import IGNORE

COUNT = 150
SPLITS = {"train": "training", "val": "validation"}
LABELS = LabelTable({0: IGNORE, **{i: i - 1 for i in range(1, COUNT + 1)}})


def read_ade20k(root: Path, *, skip_bad: bool = False) -> ListedSource[Pair]:
    """List the splits; raises DataError if the layout is a different one."""
    require_folder(root / "images", "the images folder of ADE20K (SceneParse150)")
    require_folder(root / "annotations", "the annotations folder of ADE20K (SceneParse150)")
    pairs = {split: _list_split(root, folder) for split, folder in SPLITS.items()}
    if not any(pairs.values()):
        raise DataError(
            f"{root}: no image in images/training or images/validation; wanted the stock layout "
            "of SceneParse150; check the path in --data"
        )
    return mask_source("ade20k", root, _read_names(root / "objectInfo150.txt"), pairs, skip_bad)


def _list_split(root: Path, split: str) -> tuple[Pair, ...]:
    images = root / "images" / split
    if not images.is_dir():
        return ()
    masks = root / "annotations" / split
    pictures = list_by_stem(images)
    by_stem = list_masks(masks, pictures)
    return tuple(
        Pair(image, by_stem.get(stem, masks / f"{stem}.png"), LABELS)
        for stem, image in pictures.items()
    )


def _read_names(path: Path) -> list[str]:
    """Read the first name of each class: lines ``Idx Ratio Train Val Name, synonym, ...``."""
    what = f"the names of the {COUNT} classes, which come with ADE20K's SceneParse150"
    lines = read_text(path, what).split("\n")[1:]
    rows = [fields for line in lines if len(fields := line.split(maxsplit=4)) == 5]
    names = [fields[4].split(",")[0].strip() for fields in rows]
    if [fields[0] for fields in rows] != [str(i) for i in range(1, COUNT + 1)]:
        raise DataError(
            f"{path}: {len(rows)} classes; wanted 'Idx Ratio Train Val Name' for 1 to {COUNT}"
        )
    return names
