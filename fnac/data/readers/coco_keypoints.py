"""Persons in COCO's keypoint format, with the joints that its person category names.

``annotations/person_keypoints_{train,val,test}[2017].json``; pictures in ``SPLIT2017``, ``SPLIT``,
``images/SPLIT2017``, ``images/SPLIT`` or ``images``. A sample is a person with at least one
labelled joint; crowds and other persons are known to the evaluation alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fnac.errors import DataError

from ..folders import require_folder
from ..json_files import read_numbers
from ..sets.boxes import box_problem
from ..sets.joints import COCO, OKS_AP, JointSet, oks_sigmas
from ..sets.listed import Listed
from ..sets.persons import PADDING, TODO, Person, PersonSource, person_source, read_persons
from .coco_json import coco_classes, image_records, load_coco

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
    skip_bad: bool = False,
) -> PersonSource:
    """Find the files of each split; they are read when the split is asked for.

    annotations: other files (split -> path in root); sigmas: of OKS, one a joint, where they are
    not COCO's. Raises DataError where folders are missing or a file is in another format.
    """
    require_folder(root, "the folder with annotations/ and the pictures")
    files = find_annotations(root, STEM, annotations)
    if not files:
        raise DataError(
            f"{root / 'annotations'}: no {STEM}_train.json or {STEM}_train2017.json (or val); "
            "wanted COCO's keypoint files; check the path in --data, or name the files in a YAML "
            "file (annotations: {train: FILE, val: FILE})"
        )
    # the smallest file says the joints; each other one is held to it when it is read
    first = min(files.values(), key=lambda f: f.stat().st_size if f.is_file() else 0)
    joints = _joint_set(load_coco(first)["categories"], first, sigmas)
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
    for split in SPLITS:
        folder = root / "annotations"
        exact = [*folder.glob(f"{stem}_{split}.json"), *folder.glob(f"{stem}_{split}20??.json")]
        found = exact or sorted(
            {*folder.glob(f"{stem}*_{split}.json"), *folder.glob(f"{stem}*_{split}20??.json")}
        )
        if len(found) > 1:
            raise DataError(
                f"{folder}: {', '.join(path.name for path in found)}; wanted one file for "
                f"'{split}'; name it in a YAML file as --data (annotations: {{{split}: FILE}})"
            )
        if found:
            files[split] = found[0]
    return files


def _image_folder(root: Path, split: str, path: Path) -> Path:
    tail = path.stem.rpartition("_")[2]
    names = [f"images/{tail}", tail, f"images/{split}", split, "images"]
    return next((root / name for name in names if (root / name).is_dir()), root)


def _joint_set(categories: Sequence[Any], path: Path, sigmas: Sequence[float] | None) -> JointSet:
    names = tuple(str(name) for name in _person_category(categories, path)["keypoints"])
    if sigmas is not None and len(sigmas) != len(names):
        raise DataError(f"{path}: {len(names)} joints; wanted as many sigmas, found {len(sigmas)}")
    if names == COCO.names:
        return COCO if sigmas is None else dataclasses.replace(COCO, sigmas=tuple(sigmas))
    skeleton = _person_category(categories, path).get("skeleton") or []
    pairs = [(int(a) - 1, int(b) - 1) for a, b in skeleton]
    # CrowdPose gives COCO's skeleton to other joints: such a skeleton is not drawn.
    drawn = all(0 <= i < len(names) for pair in pairs for i in pair)
    has_torso = {"left_shoulder", "right_hip"} <= set(names)
    return JointSet(
        names=names,
        limbs=tuple(pairs) if drawn else (),
        metric=OKS_AP,
        sigmas=oks_sigmas(names, str(path)) if sigmas is None else tuple(sigmas),
        torso=(names.index("left_shoulder"), names.index("right_hip")) if has_torso else None,
    )


def _person_category(categories: Sequence[Any], path: Path) -> dict[str, Any]:
    with_joints = [c for c in categories if isinstance(c, dict) and c.get("keypoints")]
    if len(with_joints) != 1:
        raise DataError(
            f"{path}: {len(with_joints)} categories with 'keypoints'; wanted one, the person's "
            "(instances_*.json has none: take person_keypoints_*.json)"
        )
    return dict(with_joints[0])


def _read_split(path: Path, folder: Path, joints: JointSet) -> Listed[Person]:
    content = load_coco(path)
    person = _person_category(content["categories"], path)
    if tuple(person["keypoints"]) != joints.names:
        found = ", ".join(person["keypoints"])
        raise DataError(f"{path}: joints {found}; wanted those of the other splits")
    problems: list[str] = []
    images = image_records(content, path, problems)
    known = {key for key, _ in coco_classes(content, path)}

    def make(number: int, entry: Any) -> Person | None:
        if not isinstance(entry, dict) or "id" not in entry:
            raise DataError(f"{path}: annotation {number}: no 'id'; wanted {WANTED}")
        where = f"{path}: annotation {entry['id']}"
        image_id, kind = entry.get("image_id"), entry.get("category_id")
        if not isinstance(image_id, int | str) or image_id not in images:
            raise DataError(f"{where}: image_id {image_id!r}; wanted one of the file's images")
        if not isinstance(kind, int) or kind not in known:
            raise DataError(f"{where}: category_id {kind!r}; wanted one of the file's categories")
        if kind != person["id"]:
            return None
        name, size = images[image_id]
        return _person(entry, f"{where} ({name})", folder / name, size, joints)

    persons = read_persons(content["annotations"], make)
    return Listed(
        persons.items, (*(f"{problem}; {TODO}" for problem in problems), *persons.problems)
    )


def _person(
    entry: Mapping[str, Any],
    where: str,
    image: Path,
    size: tuple[int, int],
    joints: JointSet,
) -> Person | None:
    """Make a person of an annotation in a picture of ``size`` (H, W); None: nothing to find."""
    count = len(joints.names)
    flat = read_numbers(entry, "keypoints", (3 * count,), where)
    places = flat.reshape(count, 3).astype(np.float32)
    if not np.isin(places[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: visibility {places[:, 2].tolist()}; wanted 0, 1 or 2 each")
    crowd = bool(entry.get("iscrowd"))
    left, top, width, height = (float(v) for v in read_numbers(entry, "bbox", (4,), where))
    if width <= 0 or height <= 0:
        if crowd or not (places[:, 2] > 0).any():
            return None  # there is nothing that could be found on it
        raise DataError(f"{where}: bbox {width:g}x{height:g} pixels; wanted a width and a height")
    problem = box_problem((left, top, left + width, top + height), size)
    if problem is not None and not crowd:
        raise DataError(f"{where}: {problem}")
    area = float(read_numbers(entry, "area", (), where)) if "area" in entry else 0.0
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
