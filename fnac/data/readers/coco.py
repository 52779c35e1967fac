"""COCO detection: ``annotations/instances_SPLIT.json`` and a folder of images for each split.

Layouts: the stock one (``annotations/instances_train2017.json`` + ``train2017/``; 2014 alike), the
same without the year, images under ``images/`` or directly, and ``SPLIT/_annotations.coco.json``
beside the images (Roboflow). Category ids become class ids 0.. in the order of the file's
``categories``. Crowd annotations are ignored in training and evaluation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fnac.errors import DataError

from ..folders import SPLIT_NAMES, require_folder
from ..json_files import as_flag, as_key, as_number, short, unquoted
from ..sets.boxes import TODO, BoxPicture, box_problem, box_rows, box_source, clipped
from ..sets.listed import Listed, ListedSource
from .coco_corners import warn_of_corners
from .coco_json import Images, Key, coco_classes, image_records, load_coco, require_names

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_FILES = (
    "annotations/instances_{split}2017.json",
    "annotations/instances_{split}2014.json",
    "annotations/instances_{split}.json",
    "annotations/{split}.json",
    "{split}/_annotations.coco.json",
    "{split}.json",
)
_FOLDERS = ("images/{split}{year}", "{split}{year}", "images/{split}", "{split}", "images")


def read_coco(
    root: Path,
    *,
    annotations: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> ListedSource[BoxPicture]:
    """Find the files of each split; annotations are read when a split is asked for.

    annotations: split -> json file, images: split -> folder of its images (both relative to
    ``root``), where the layout is none of the known ones. classes: only these categories, in this
    order; objects of others are left out, their images stay. Raises DataError.
    """
    require_folder(root, "the COCO folder")
    files = {s: root / f for s, f in (annotations or {}).items()} or _find_files(root)
    if not files:
        forms = ", ".join(name.format(split="train") for name in _FILES)
        raise DataError(f"{root}: no annotations; wanted one of {forms}; check the path in --data")
    alone = [split for split in images or {} if split not in files]
    if alone:
        raise DataError(
            f"{root}: images of '{alone[0]}', which has no annotations; wanted folders of "
            f"{', '.join(files)}"
        )
    folders = {s: _folder(root, s, f, (images or {}).get(s)) for s, f in files.items()}
    # the smallest file says the categories; each other one is held to it when it is read
    first = min(files.values(), key=lambda f: f.stat().st_size if f.is_file() else 0)
    known = list(coco_classes(load_coco(first), first).values())
    names = list(classes) if classes is not None else known
    for name in names:
        if name not in known:
            raise DataError(
                f"{first}: no category '{name}'; wanted one of {', '.join(known)}; "
                "correct 'classes'"
            )
    told = first if classes is None else None
    readers = {
        split: partial(_read_split, path, folders[split], names, told)
        for split, path in files.items()
    }
    return box_source("coco", root, names, readers, skip_bad)


def _find_files(root: Path) -> dict[str, Path]:
    files = {}
    for split in SPLITS:
        names = [name.format(split=called) for called in SPLIT_NAMES[split] for name in _FILES]
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is not None:
            files[split] = path
    return files


def _folder(root: Path, split: str, file: Path, stated: str | None) -> Path:
    if stated is not None:
        return root / stated
    if file.name == "_annotations.coco.json":
        return file.parent
    year = next((y for y in ("2017", "2014") if y in file.stem), "")
    folders = [
        root / name.format(split=called, year=year)
        for called in SPLIT_NAMES.get(split, (split,))
        for name in _FOLDERS
    ]
    folder = next((f for f in folders if f.is_dir()), None)
    if folder is None:
        tried = ", ".join(dict.fromkeys(f.relative_to(root).as_posix() for f in folders))
        raise DataError(
            f"{root}: no folder with the images of {file.name}; wanted one of {tried}; "
            "unpack the images there"
        )
    return folder


def _read_split(
    path: Path, folder: Path, names: Sequence[str], first: Path | None
) -> Listed[BoxPicture]:
    """Read a file's boxes of the classes ``names``; ``first``: the file whose names they are."""
    content = load_coco(path)
    known = coco_classes(content, path)  # ids and order are each file's own: the names count
    if first is not None:
        require_names(list(known.values()), names, path, first)
    places = {name: place for place, name in enumerate(names)}
    class_ids = {key: places.get(name) for key, name in known.items()}
    problems: list[str] = []
    images = image_records(content, path, folder, problems)
    rows: dict[Key, list[list[float]]] = {key: [] for key in images}
    areas: dict[Key, list[float]] = {key: [] for key in images}
    ignored: dict[Key, list[list[float]]] = {key: [] for key in images}
    stated: list[list[float]] = []
    for place, record in enumerate(content["annotations"]):
        box = _read_box(record, images, class_ids)
        if isinstance(box, str):
            key = record.get("id", f"number {place}") if isinstance(record, dict) else place
            problems.append(f"{path}: annotation {unquoted(key)}: {box}; {TODO}")
            continue
        height, width = images[box.image][1]
        stated.append([*box.stated, width, height, box.stated_area])
        if box.row is None:
            continue
        if box.crowd:
            ignored[box.image].append(box.row)
        else:
            rows[box.image].append(box.row)
            areas[box.image].append(box.area)
    warn_of_corners(path, stated)
    pictures = tuple(
        BoxPicture(
            image, str(key), size,
            box_rows(rows[key]), np.array(areas[key], dtype=np.float32), box_rows(ignored[key]),
        )
        for key, (image, size) in images.items()
    )  # fmt: skip
    return Listed(pictures, tuple(problems))


@dataclass(frozen=True)
class _Box:
    """One annotation; row: x0 y0 x1 y1 class, None for a class that is not used.

    stated       as the file gives it: x y width height
    stated_area  NaN if the file states none
    """

    image: Key
    row: list[float] | None
    area: float
    crowd: bool
    stated: tuple[float, float, float, float]
    stated_area: float


def _read_box(record: Any, images: Images, class_ids: Mapping[Key, int | None]) -> _Box | str:
    """Return the box of an annotation, or what is wrong."""
    if not isinstance(record, dict):
        return f"found {short(record)}; wanted an object with image_id, category_id, bbox"
    image, category = (as_key(record.get(k)) for k in ("image_id", "category_id"))
    if image is None or image not in images:
        return f"image_id {short(record.get('image_id'))} is not the id of any image"
    if category is None or category not in class_ids:
        said = short(record.get("category_id"))
        return f"image {image}: category_id {said} is not the id of any category"
    stated = record.get("bbox")
    box = [as_number(v) for v in stated] if isinstance(stated, list) and len(stated) == 4 else []
    x, y, w, h = box if box else (None,) * 4
    if x is None or y is None or w is None or h is None:
        return f"image {image}: bbox {short(stated)}; wanted [x, y, width, height]"
    size = images[image][1]
    corners = (x, y, x + w, y + h)
    problem = box_problem(corners, size)
    if problem is not None:
        return f"image {image}: {problem}"
    crowd = as_flag(record.get("iscrowd"))
    if crowd is None:
        return f"image {image}: iscrowd {short(record['iscrowd'])}; wanted 0 or 1"
    left_out = as_flag(record.get("ignore"))  # of data sets in COCO's form: CrowdHuman, EuroCity
    if left_out is None:
        return f"image {image}: ignore {short(record['ignore'])}; wanted 0 or 1"
    crowd = crowd or left_out
    class_id = class_ids[category]
    if class_id is None:
        return _Box(image, None, 0.0, crowd, (x, y, w, h), math.nan)
    stated_area = record.get("area")
    area = w * h if stated_area is None else as_number(stated_area)
    if area is None or area < 0:
        return f"image {image}: area {short(stated_area)}; wanted the object's pixels"
    told = math.nan if stated_area is None else area
    return _Box(image, [*clipped(corners, size), class_id], area, crowd, (x, y, w, h), told)
