"""Leeds Sports Pose and its extended training set: 14 joints, one person per image.

Stock: ``joints.mat`` and ``images/im0001.jpg``, ... (2000 images, joints 3x14xN: the first half
trains, the second, LSP's test half, is ``val``) or the extended set (10000 images, joints 14x3xN,
third column 0 where a joint is not labelled: a fraction is kept for ``val``, chosen by file name
and the data's random seed). Coordinates there are from 1. Or COCO's keypoint format with the 14
joints: ``annotations/person_keypoints*_SPLIT.json``. The metric is PCK@0.2 in all of them.

LSP's own third row marks hidden joints and has been read both ways; every labelled joint counts
as visible here, which neither loss nor metric would tell apart.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError

from ..folders import require_folder
from ..matlab_files import read_matlab
from ..sets.joints import LSP
from ..sets.listed import Listed
from ..sets.persons import PADDING, Person, PersonSource, person_source, read_persons
from .coco_keypoints import STEM, find_annotations, read_coco_keypoints

logger = logging.getLogger(__name__)

_IMAGE = re.compile(r"im(\d+)\.jpe?g", re.IGNORECASE)
BOX_MARGIN = 0.1
"""What the box has around the joints, in lengths of its longer side: hands, feet, hair."""


def read_lsp(
    root: Path,
    *,
    annotations: Mapping[str, str] | None = None,
    val_fraction: float = 0.1,
    random_seed: int = 0,
    skip_bad: bool = False,
) -> PersonSource:
    """Find the persons of each split.

    annotations: COCO files of other names (split -> path in root); val_fraction: of the extended
    set. Raises DataError where files are missing or in another format.
    """
    require_folder(root, "the LSP folder")
    if (root / "joints.mat").is_file() and not annotations:
        return _read_matlab(root, val_fraction, random_seed, skip_bad)
    files = find_annotations(root, f"{STEM}14", annotations) or find_annotations(root, STEM)
    if not files:
        raise DataError(
            f"{root}: neither joints.mat nor annotations/{STEM}_train.json; wanted LSP's own "
            "layout or COCO's keypoint format with LSP's joints; check the path in --data"
        )
    named = {
        split: str(path.relative_to(root) if path.is_relative_to(root) else path)
        for split, path in files.items()
    }
    source = read_coco_keypoints(root, annotations=named, skip_bad=skip_bad)
    if source.joints.names != LSP.names:
        raise DataError(
            f"{next(iter(files.values()))}: joints {', '.join(source.joints.names)}; wanted LSP's "
            f"{', '.join(LSP.names)}; read other joints as coco-keypoints:{root}"
        )
    return person_source("lsp", root, LSP, source.items, skip_bad)


def _read_matlab(root: Path, val_fraction: float, random_seed: int, skip_bad: bool) -> PersonSource:
    path = root / "joints.mat"
    require_folder(root / "images", "the folder of images")
    joints = _load(path)
    extended = joints.shape[1] == 3
    if extended:
        joints = joints.transpose(1, 0, 2)
    count = joints.shape[2]
    names = _numbered(root / "images", count)
    numbers = range(count)
    if extended:
        if not 0 < val_fraction < 1:
            raise DataError(f"val_fraction: {val_fraction}; wanted a number between 0 and 1")
        order = sorted(numbers, key=lambda i: (zlib.crc32(f"{random_seed}/{names[i]}".encode()), i))
        kept = set(order[: max(1, round(val_fraction * count))])
        logger.info(
            "%s: no validation part; %d of %d images (%.0f %%, chosen by file name) are kept "
            "for it", root, len(kept), count, 100 * val_fraction,
        )  # fmt: skip
    else:
        kept = set(numbers[count // 2 :])

    def part(split: str) -> Listed[Person]:
        """The persons of a split, and what is wrong with others of it."""
        mine = [number for number in numbers if (number in kept) == (split == "val")]

        def make(_: int, number: int) -> Person:
            image = root / "images" / names[number]
            return _person(path, number, image, joints[:, :, number], extended)

        return read_persons(mine, make)

    items = {split: partial(part, split) for split in ("train", "val")}
    return person_source("lsp", root, LSP, items, skip_bad)


def _numbered(folder: Path, count: int) -> list[str]:
    """Return the names of the images im0001.jpg, ... by their numbers, one per person.

    Raises DataError where one is missing, or two have one number: the persons behind it would be
    those of other images.
    """
    numbers: dict[int, str] = {}
    for path in sorted(folder.iterdir()):
        match = _IMAGE.fullmatch(path.name)
        if match is None:
            continue
        other = numbers.setdefault(int(match[1]), path.name)
        if other != path.name:
            raise DataError(f"{folder}: {other} and {path.name}; wanted one image of each number")
    todo = f"wanted {count}, im1.jpg (or im0001.jpg) to im{count}.jpg, one per person"
    if len(numbers) != count:
        raise DataError(
            f"{folder}: {len(numbers)} images im*.jpg; {todo} in joints.mat; copy the rest"
        )
    first = min(numbers, default=0)
    missing = next(
        (number for number in range(first, first + count) if number not in numbers), None
    )
    if missing is not None:
        raise DataError(f"{folder}: there is no image im{missing}.jpg; {todo}; copy the rest")
    return [numbers[number] for number in sorted(numbers)]


def _load(path: Path) -> npt.NDArray[np.float64]:
    joints = read_matlab(path, "joints", "LSP's joints.mat")
    if joints is None or joints.ndim != 3 or joints.shape[:2] not in ((3, 14), (14, 3)):
        shape = "none" if joints is None else "x".join(str(n) for n in joints.shape)
        raise DataError(f"{path}: joints {shape}; wanted 3x14xN (LSP) or 14x3xN (extended)")
    return np.asarray(joints, dtype=np.float64)


def _person(
    path: Path, number: int, image: Path, columns: npt.NDArray[np.float64], extended: bool
) -> Person:
    """Build a person from x, y, flag (3, 14), 1-based coordinates."""
    where = f"{path}: person {number} ({image.name})"
    labelled = columns[2] > 0 if extended else np.ones(len(LSP.names), dtype=bool)
    if not np.isfinite(columns).all():
        raise DataError(f"{where}: a joint is not of finite numbers")
    if labelled.sum() < 2:
        raise DataError(f"{where}: {labelled.sum()} labelled joints; wanted at least 2")
    joints = np.zeros((len(LSP.names), 3), dtype=np.float32)
    joints[labelled, :2] = columns[:2, labelled].T - 1
    joints[labelled, 2] = 2
    low, high = joints[labelled, :2].min(axis=0), joints[labelled, :2].max(axis=0)
    width, height = (float(v) for v in high - low + 2 * BOX_MARGIN * (high - low).max())
    x, y = (float(v) for v in (low + high) / 2)
    return Person(
        where=where,
        id=number,
        image=image,
        image_id=image.name,
        joints=joints,
        centre=(x, y),
        window=(width * PADDING, height * PADDING),
        area=width * height,
    )
