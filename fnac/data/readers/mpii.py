"""MPII human pose in the public JSON form (SimpleBaseline, HRNet, mmpose).

``annot/{train,valid}.json`` or ``annotations/mpii_{train,val,test}.json``: a list of persons
``{"image", "center", "scale", "joints": 16 x [x, y], "joints_vis": 16 x 0|1}`` with coordinates
from 1 and ``scale`` in 200 pixels; images in ``images/SPLIT`` where there is one, else in
``images``.

The unit of PCKh is, in this order: a person's ``head_size`` or ``headboxes`` ([[x0, y0], [x1, y1]];
0.6 of the diagonal); 0.6 of the diagonal of ``headboxes_src`` in MPII's own ``annot/gt_valid.mat``;
the distance from head top to neck, if both are labelled. Without any the person is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError

from ..folders import image_named, require_folder
from ..json_files import read_json, read_numbers
from ..matlab_files import read_matlab
from ..sets.joints import MPII
from ..sets.listed import Listed
from ..sets.persons import PADDING, Person, PersonSource, person_source, read_persons

HEAD_BIAS = 0.6
"""Size of a head in diagonals of its box, as in MPII's evaluation."""
FILES = {
    "train": ("annot/train.json", "annotations/mpii_train.json"),
    "val": ("annot/valid.json", "annotations/mpii_val.json"),
    "test": ("annotations/mpii_test.json",),  # annot/test.json of MPII itself has no joints
}
WANTED = "a list of persons as in MPII's train.json (image, center, scale, joints, joints_vis)"


def read_mpii(
    root: Path, *, annotations: Mapping[str, str] | None = None, skip_bad: bool = False
) -> PersonSource:
    """Find the files of each split; they are read when the split is asked for.

    annotations: other files (split -> path in root). Raises DataError where folders are missing.
    """
    require_folder(root, "the MPII folder")
    require_folder(root / "images", "the folder of images")
    chosen = {split: (name,) for split, name in annotations.items()} if annotations else FILES
    readers = {}
    for split, names in chosen.items():
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is not None or annotations:
            readers[split] = partial(_read_split, root, split, path or root / names[0])
    if not readers:
        raise DataError(
            f"{root}: neither annot/train.json nor annotations/mpii_train.json (or their val); "
            "wanted MPII's public JSON form; check the path in --data"
        )
    return person_source("mpii", root, MPII, readers, skip_bad)


def _read_split(root: Path, split: str, path: Path) -> Listed[Person]:
    entries = read_json(path, WANTED)
    if not isinstance(entries, list):
        raise DataError(f"{path}: holds a {type(entries).__name__}; wanted {WANTED}")
    images = root / "images" / split
    if not images.is_dir():
        images = root / "images"
    heads = _matlab_heads(path.with_name("gt_valid.mat"), len(entries)) if split == "val" else None

    def make(number: int, entry: Any) -> Person | None:
        where = f"{path}: person {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise DataError(f"{where}: no 'image'; wanted {WANTED}")
        where = f"{where} ({entry['image']})"
        head = _stated_head(entry, where)
        if head is None and heads is not None:
            head = float(heads[number])
        return _person(entry, where, number, images, head)

    return read_persons(entries, make)


def _person(
    entry: Mapping[str, Any], where: str, number: int, images: Path, head: float | None
) -> Person:
    count = len(MPII.names)
    places = read_numbers(entry, "joints", (count, 2), where)
    labelled = read_numbers(entry, "joints_vis", (count,), where) > 0
    centre = read_numbers(entry, "center", (2,), where)
    scale = float(read_numbers(entry, "scale", (), where))
    if scale <= 0:
        raise DataError(f"{where}: scale {scale:g}; wanted the person's height / 200 pixels")
    joints = np.zeros((count, 3), dtype=np.float32)
    joints[labelled, :2] = places[labelled] - 1
    joints[labelled, 2] = 2
    if head is None and MPII.head is not None and labelled[list(MPII.head)].all():
        top, neck = MPII.head
        head = float(np.linalg.norm(places[top] - places[neck]))
    # As in SimpleBaseline: the marked place is rough, and limbs below it would be cut off.
    x, y = centre[0] - 1, centre[1] - 1 + 15 * scale
    side = 200 * scale * PADDING
    return Person(
        where=where,
        id=number,
        image=image_named(images, entry["image"]),
        image_id=entry["image"],
        joints=joints,
        centre=(float(x), float(y)),
        window=(side, side),
        area=(200 * scale) ** 2,
        head_size=head,
    )


def _stated_head(entry: Mapping[str, Any], where: str) -> float | None:
    if "head_size" in entry:
        return _positive(float(read_numbers(entry, "head_size", (), where)), "head_size", where)
    if "headboxes" in entry:
        (x0, y0), (x1, y1) = read_numbers(entry, "headboxes", (2, 2), where)
        return _positive(HEAD_BIAS * float(np.hypot(x1 - x0, y1 - y0)), "headboxes", where)
    return None


def _positive(head: float, key: str, where: str) -> float:
    if head <= 0:
        raise DataError(f"{where}: '{key}' gives a head of {head:g} pixels; wanted more than 0")
    return head


def _matlab_heads(path: Path, count: int) -> npt.NDArray[np.float64] | None:
    """Read head sizes (count,) from MPII's ``gt_valid.mat``; None if the file does not exist."""
    if not path.is_file():
        return None
    boxes = read_matlab(path, "headboxes_src", "MPII's own")
    if boxes is None or boxes.shape != (2, 2, count):
        shape = "none" if boxes is None else "x".join(str(n) for n in boxes.shape)
        raise DataError(f"{path}: headboxes_src {shape}; wanted 2x2x{count}, one per person")
    sizes: npt.NDArray[np.float64] = HEAD_BIAS * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return sizes
