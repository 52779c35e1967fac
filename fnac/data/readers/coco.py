"""COCO detection: ``annotations/instances_SPLIT.json`` and a folder of pictures a split.

Layouts: the stock one (``annotations/instances_train2017.json`` + ``train2017/``; 2014 alike), the
same without the year, pictures under ``images/`` or directly, and ``SPLIT/_annotations.coco.json``
beside the pictures (Roboflow). Category ids become class ids 0.. in the order of the file's
``categories``. Crowd regions are not learnt; what is found in one is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fnac.errors import DataError

from ..folders import require_folder
from ..sets.boxes import TODO, BoxPicture, box_problem, box_rows, box_source, clipped
from ..sets.listed import Listed, ListedSource
from .coco_json import coco_classes, image_records, load_coco, number

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

    annotations: split -> json file, images: split -> folder of its pictures (both relative to
    ``root``), where the layout is none of the known ones. classes: only these categories, in this
    order; objects of others are left out, their pictures stay. Raises DataError.
    """
    require_folder(root, "the COCO folder")
    files = {s: root / f for s, f in (annotations or {}).items()} or _find_files(root)
    if not files:
        wanted = ", ".join(name.format(split="train") for name in _FILES)
        raise DataError(f"{root}: no annotations; wanted one of {wanted}; check the path in --data")
    folders = {s: _folder(root, s, f, (images or {}).get(s)) for s, f in files.items()}
    # the smallest file says the categories; each other one is held to it when it is read
    first = min(files.values(), key=lambda f: f.stat().st_size if f.is_file() else 0)
    known = coco_classes(load_coco(first), first)
    names = list(classes) if classes is not None else [name for _, name in known]
    for name in names:
        if name not in {n for _, n in known}:
            raise DataError(
                f"{first}: no category '{name}'; wanted one of {', '.join(n for _, n in known)}; "
                "correct 'classes'"
            )
    readers = {
        split: partial(_read_split, path, folders[split], known, names)
        for split, path in files.items()
    }
    return box_source("coco", root, names, readers, skip_bad)


def _find_files(root: Path) -> dict[str, Path]:
    found = {}
    for split in SPLITS:
        paths = [root / name.format(split=split) for name in _FILES]
        if split == "val":
            paths.append(root / "valid/_annotations.coco.json")
        path = next((p for p in paths if p.is_file()), None)
        if path is not None:
            found[split] = path
    return found


def _folder(root: Path, split: str, file: Path, stated: str | None) -> Path:
    if stated is not None:
        return root / stated
    if file.name == "_annotations.coco.json":
        return file.parent
    year = next((y for y in ("2017", "2014") if y in file.stem), "")
    folders = [root / name.format(split=split, year=year) for name in _FOLDERS]
    found = next((f for f in folders if f.is_dir()), None)
    if found is None:
        tried = ", ".join(dict.fromkeys(f.relative_to(root).as_posix() for f in folders))
        raise DataError(
            f"{root}: no folder with the pictures of {file.name}; wanted one of {tried}; "
            "unpack the pictures there"
        )
    return found


def _read_split(
    path: Path, folder: Path, known: list[tuple[int, str]], names: Sequence[str]
) -> Listed[BoxPicture]:
    content = load_coco(path)
    if coco_classes(content, path) != known:
        raise DataError(
            f"{path}: its categories are not those of the other splits; wanted the same ids and "
            "names in the same order in every split; correct 'categories'"
        )
    places = {name: place for place, name in enumerate(names)}
    class_ids = {key: places.get(name) for key, name in known}
    problems: list[str] = []
    images = image_records(content, path, problems)
    rows: dict[object, list[list[float]]] = {key: [] for key in images}
    areas: dict[object, list[float]] = {key: [] for key in images}
    ignored: dict[object, list[list[float]]] = {key: [] for key in images}
    for place, record in enumerate(content["annotations"]):
        found = _read_box(record, images, class_ids)
        if isinstance(found, str):
            key = record.get("id", f"number {place}") if isinstance(record, dict) else place
            problems.append(f"{path}: annotation {key}: {found}; {TODO}")
            continue
        image, row, area = found
        if row is None:
            continue
        if record.get("iscrowd"):
            ignored[image].append(row)
        else:
            rows[image].append(row)
            areas[image].append(area)
    pictures = tuple(
        BoxPicture(
            folder / name, str(key), size,
            box_rows(rows[key]), np.array(areas[key], dtype=np.float32), box_rows(ignored[key]),
        )
        for key, (name, size) in images.items()
    )  # fmt: skip
    return Listed(pictures, tuple(problems))


def _read_box(
    record: Any,
    images: Mapping[object, tuple[str, tuple[int, int]]],
    class_ids: Mapping[int, int | None],
) -> tuple[object, list[float] | None, float] | str:
    """Return (image, row x0 y0 x1 y1 class, area), or what is wrong; row None: another class."""
    if not isinstance(record, dict):
        return f"found {record!r}; wanted an object with image_id, category_id, bbox"
    image, category, box = (record.get(k) for k in ("image_id", "category_id", "bbox"))
    if not isinstance(image, int | str) or image not in images:
        return f"image_id {image!r} is not the id of any image"
    if not isinstance(category, int) or category not in class_ids:
        return f"image {image}: category_id {category!r} is not the id of any category"
    if not isinstance(box, list) or len(box) != 4 or not all(number(v) for v in box):
        return f"image {image}: bbox {box!r}; wanted [x, y, width, height]"
    size = images[image][1]
    corners = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    problem = box_problem(corners, size)
    if problem is not None:
        return f"image {image}: {problem}"
    class_id = class_ids[category]
    if class_id is None:
        return image, None, 0.0
    area = record.get("area", box[2] * box[3])
    if not number(area) or area < 0:
        return f"image {image}: area {area!r}; wanted the object's pixels"
    return image, [*clipped(corners, size), class_id], float(area)
