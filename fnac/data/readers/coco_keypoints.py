"""Persons in COCO's keypoint format, with the joints that its person category names.

``annotations/person_keypoints_{train,val,test}[2017].json``; images in ``SPLIT2017``, ``SPLIT``,
``images/SPLIT2017``, ``images/SPLIT`` or ``images``. A sample is a person with at least one
labelled joint; crowds and other persons are known to the evaluation alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fnac.errors import DataError

from ..folders import SPLIT_NAMES, require_folder
from ..json_files import as_flag, as_key, as_number, as_whole, read_numbers, short, unquoted
from ..sets.boxes import box_problem
from ..sets.joints import COCO, OKS_AP, JointSet, oks_sigmas
from ..sets.listed import Listed
from ..sets.persons import PADDING, TODO, Person, PersonSource, person_source, read_persons
from .coco_corners import warn_of_corners
from .coco_json import Key, coco_classes, image_records, load_coco

SPLITS = ("train", "val", "test")
STEM = "person_keypoints"
AREA_OF_BOX = 0.53
"""Area of a person in areas of the box, where no area is stated (mmpose)."""
WANTED = "COCO's keypoint format: an object with images, annotations and categories"


def read_coco_keypoints(
    root: Path,
    *,
    annotations: Mapping[str, str] | None = None,
    sigmas: Sequence[float] | None = None,
    mirror: Sequence[Sequence[str]] | None = None,
    skip_bad: bool = False,
) -> PersonSource:
    """Find the files of each split; they are read when the split is asked for.

    annotations: other files (split -> path in root); sigmas: of OKS, one per joint, where they are
    not COCO's; mirror: pairs of joints that change places in a mirror, where their names do not say
    it. Raises DataError where folders are missing or a file is in another format.
    """
    require_folder(root, "the folder with annotations/ and the images")
    files = find_annotations(root, STEM, annotations)
    if not files:
        raise DataError(
            f"{root / 'annotations'}: no {STEM}_train.json or {STEM}_train2017.json (or val); "
            "wanted COCO's keypoint files; check the path in --data, or name the files in a YAML "
            "file (annotations: {train: FILE, val: FILE})"
        )
    # the smallest file says the joints; each other one is held to it when it is read
    first = min(files.values(), key=lambda f: f.stat().st_size if f.is_file() else 0)
    joints = _joint_set(load_coco(first)["categories"], first, sigmas, mirror)
    readers = {
        split: partial(_read_split, path, _image_folder(root, split, path), joints)
        for split, path in files.items()
    }
    return person_source("coco-keypoints", root, joints, readers, skip_bad)


def find_annotations(
    root: Path, stem: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Return split -> file: the ones named, or ``annotations/STEM*_SPLIT[YEAR].json``.

    A file without anything between stem and split is taken first; DataError where several others
    would do.
    """
    if annotations:
        return {split: root / name for split, name in annotations.items()}
    files = {}
    folder = root / "annotations"
    for split in SPLITS:
        ends = [f"{name}{year}.json" for name in SPLIT_NAMES[split] for year in ("", "20??")]
        exact = [path for end in ends for path in folder.glob(f"{stem}_{end}")]
        fitting = exact or sorted({path for end in ends for path in folder.glob(f"{stem}*_{end}")})
        if len(fitting) > 1:
            raise DataError(
                f"{folder}: {', '.join(path.name for path in fitting)}; wanted one file for "
                f"'{split}'; name it in a YAML file as --data (annotations: {{{split}: FILE}})"
            )
        if fitting:
            files[split] = fitting[0]
    return files


def _image_folder(root: Path, split: str, path: Path) -> Path:
    tail = path.stem.rpartition("_")[2]
    names = [f"images/{tail}", tail, f"images/{split}", split, "images"]
    return next((root / name for name in names if (root / name).is_dir()), root)


def _joint_set(
    categories: Sequence[Any],
    path: Path,
    sigmas: Sequence[float] | None,
    mirror: Sequence[Sequence[str]] | None,
) -> JointSet:
    person = _person_category(categories, path)
    names = person.names
    if sigmas is not None and len(sigmas) != len(names):
        raise DataError(f"{path}: {len(names)} joints; wanted as many sigmas, found {len(sigmas)}")
    pairs = None if mirror is None else _named_pairs(mirror, names, path)
    if names == COCO.names:
        known = COCO if sigmas is None else dataclasses.replace(COCO, sigmas=tuple(sigmas))
        return known if pairs is None else dataclasses.replace(known, mirror=pairs)
    joints = JointSet(
        names=names,
        limbs=_limbs(person.skeleton, len(names)),
        metric=OKS_AP,
        sigmas=oks_sigmas(names, str(path)) if sigmas is None else tuple(sigmas),
        mirror=pairs,
    )
    ends = joints.place("left", "shoulder"), joints.place("right", "hip")
    torso = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
    return dataclasses.replace(joints, torso=torso)


def _named_pairs(
    mirror: Sequence[Sequence[str]], names: Sequence[str], path: Path
) -> tuple[tuple[int, int], ...]:
    named = [name for pair in mirror for name in pair]
    for place, name in enumerate(named):
        if name not in names:
            raise DataError(
                f"{path}: 'mirror' names joint '{name}'; wanted one of {', '.join(names)}"
            )
        if name in named[:place]:
            raise DataError(
                f"{path}: 'mirror' names joint '{name}' twice; wanted each joint in one pair, with "
                "the joint that takes its place"
            )
    return tuple((names.index(left), names.index(right)) for left, right in mirror)


def _limbs(skeleton: object, count: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a skeleton, counted from 1 or (where a 0 is there) from 0.

    A skeleton of other joints (CrowdPose has COCO's) or of something else is not drawn.
    """
    pairs = []
    for pair in skeleton if isinstance(skeleton, list) else ():
        ends = [as_whole(end) for end in pair] if isinstance(pair, list) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            return ()
        pairs.append((ends[0], ends[1]))
    start = 0 if any(0 in pair for pair in pairs) else 1
    limbs = tuple((a - start, b - start) for a, b in pairs)
    return limbs if all(0 <= i < count for pair in limbs for i in pair) else ()


@dataclass(frozen=True)
class _PersonCategory:
    """A file's person category: its id, the joints' names, the skeleton."""

    key: Key
    names: tuple[str, ...]
    skeleton: object


def _person_category(categories: Sequence[Any], path: Path) -> _PersonCategory:
    with_joints = [c for c in categories if isinstance(c, dict) and c.get("keypoints")]
    if len(with_joints) != 1:
        raise DataError(
            f"{path}: {len(with_joints)} categories with 'keypoints'; wanted one, the person's "
            "(instances_*.json has none: take person_keypoints_*.json)"
        )
    category = with_joints[0]
    key, stated = as_key(category.get("id")), category["keypoints"]
    if key is None or not isinstance(stated, list) or not all(isinstance(n, str) for n in stated):
        raise DataError(
            f"{path}: category {short(category)}; wanted its id, and keypoints as a list of names"
        )
    names = tuple(name.strip() for name in stated)
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{path}: joint '{twice}' is listed twice; wanted each name once")
    return _PersonCategory(key, names, category.get("skeleton"))


def _read_split(path: Path, folder: Path, joints: JointSet) -> Listed[Person]:
    content = load_coco(path)
    person = _person_category(content["categories"], path)
    if sorted(person.names) != sorted(joints.names):
        names = ", ".join(person.names)
        raise DataError(f"{path}: joints {names}; wanted those of the other splits")
    order = [person.names.index(name) for name in joints.names]
    problems: list[str] = []
    images = image_records(content, path, folder, problems)
    known = coco_classes(content, path)

    def make(number: int, entry: Any) -> Person | None:
        key = as_key(entry.get("id")) if isinstance(entry, dict) else None
        if key is None:
            raise DataError(f"{path}: annotation {number}: no 'id'; wanted {WANTED}")
        where = f"{path}: annotation {unquoted(key)}"
        image_id, kind = as_key(entry.get("image_id")), as_key(entry.get("category_id"))
        if image_id is None or image_id not in images:
            said = short(entry.get("image_id"))
            raise DataError(f"{where}: image_id {said}; wanted one of the file's images")
        if kind is None or kind not in known:
            said = short(entry.get("category_id"))
            raise DataError(f"{where}: category_id {said}; wanted one of the file's categories")
        if kind != person.key:
            return None
        image, size = images[image_id]
        return _person({**entry, "id": key, "image_id": image_id}, where, image, size, order)

    persons = read_persons(content["annotations"], make)
    areas = {as_key(e.get("id")): e.get("area") for e in content["annotations"] if _is_entry(e)}
    warn_of_corners(path, [_stated_box(one, areas.get(one.id)) for one in persons.items])
    told = (f"{problem}; {TODO}" for problem in problems)
    return Listed(persons.items, (*told, *persons.problems))


def _is_entry(value: object) -> bool:
    return isinstance(value, dict)


def _stated_box(person: Person, area: object) -> list[float]:
    """Return the box as it was read, the image's width and height, the stated area or nan."""
    x0, y0, x1, y1 = person.box
    wide, high = person.picture or (0, 0)
    stated = as_number(area) if area is not None else None
    return [x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0, wide, high, stated or math.nan]


def _person(
    entry: Mapping[str, Any],
    where: str,
    image: Path,
    size: tuple[int, int],
    order: Sequence[int],
) -> Person | None:
    """Build a person from an annotation in an image of ``size`` (H, W); None: nothing to find.

    order: where each joint of the data set stands among the file's
    """
    where, count = f"{where} ({image.name})", len(order)
    flat = read_numbers(entry, "keypoints", (3 * count,), where)
    places = flat.reshape(count, 3).astype(np.float32)[list(order)]
    if not np.isin(places[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: visibility {places[:, 2].tolist()}; wanted 0, 1 or 2 each")
    crowd = as_flag(entry.get("iscrowd"))
    if crowd is None:
        raise DataError(f"{where}: iscrowd {short(entry['iscrowd'])}; wanted 0 or 1")
    left, top, width, height = (float(v) for v in read_numbers(entry, "bbox", (4,), where))
    if width <= 0 or height <= 0:
        if crowd or not (places[:, 2] > 0).any():
            return None  # there is nothing that could be found on it
        raise DataError(f"{where}: bbox {width:g}x{height:g} pixels; wanted a width and a height")
    problem = box_problem((left, top, left + width, top + height), size)
    if problem is not None and not crowd:
        raise DataError(f"{where}: {problem}")
    area = float(read_numbers(entry, "area", (), where)) if entry.get("area") is not None else 0.0
    places[places[:, 2] == 0] = 0
    return Person(
        where=where,
        id=entry["id"],
        image=image,
        image_id=entry["image_id"],
        joints=places,
        centre=(left + width / 2 - 0.5, top + height / 2 - 0.5),
        window=(width * PADDING, height * PADDING),
        area=area if area > 0 else AREA_OF_BOX * width * height,
        crowd=crowd,
        picture=(size[1], size[0]),
    )
