"""YOLO label folders: one text file per image, lines ``CLASS x y width height`` in 0..1.

``images/SPLIT/NAME.jpg`` + ``labels/SPLIT/NAME.txt``, or ``SPLIT/images`` + ``SPLIT/labels``
(Roboflow), or the folders or lists that ``train``, ``val`` and ``test`` of ``data.yaml`` name, or
``images/`` + ``labels/`` without splits: then a fraction is kept for validation, chosen by file
name and the data's random seed. Names of the classes are those of ``data.yaml`` (``names``: a list,
or id: name), or of ``classes.txt``, ``obj.names``. Polygons (YOLO's segmentation labels) become
their boxes, keypoints behind a box (``kpt_shape`` in ``data.yaml``) are passed over; an image
without a label file has no object.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fnac.errors import DataError
from fnac.models.yaml_text import load_yaml

from ..class_files import read_classes
from ..files import image_size, read_text
from ..folders import (
    SPLIT_NAMES,
    expanded,
    images_below,
    is_hidden,
    require_folder,
    same_spelling,
    split_folders,
)
from ..json_files import as_number, as_whole, short
from ..sets.boxes import TODO, BoxPicture, box_problem, box_rows, box_source, clipped
from ..sets.listed import Listed, ListedSource

logger = logging.getLogger(__name__)

NAME_FILES = ("data.yaml", "dataset.yaml", "data.yml")
LISTS = ("classes.txt", "obj.names", "labels.txt")
DECIMAL_COMMAS = re.compile(r"\d+(\s+\d*,\d+){4,5}")
"""A row of a box whose numbers are written as some languages write them: ``0 0,5 0,5 0,2 0,2``."""
EDGE = 1e-3
"""How far, in parts of the image, a box may reach over the edge by rounding; it is clipped."""


def read_yolo(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    random_seed: int = 0,
    skip_bad: bool = False,
) -> ListedSource[BoxPicture]:
    """Find images and labels of each split; they are read when the split is asked for.

    classes: names in the order of their ids, instead of those in the folder. Raises DataError.
    """
    require_folder(root, "a folder with images/ and labels/")
    stated = _stated(root)
    names = list(classes) if classes is not None else _names(root, stated)
    parts = _stated_parts(root, stated) if stated is not None else {}
    if not parts:
        parts = {split: _pairs(*home) for split, home in _homes(root).items()}
        if "" in parts:
            parts = _split_off(root, parts[""], val_fraction, random_seed)
    if not any(parts.values()):
        raise DataError(
            f"{root}: no images; wanted images/SPLIT/NAME.jpg; check the path in --data"
        )
    numbers = 0 if stated is None else stated.keypoint_numbers
    items = {
        s: partial(_read_split, tuple(pairs), names, numbers) for s, pairs in parts.items() if pairs
    }
    return box_source("yolo", root, names, items, skip_bad)


def _homes(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return split -> folders of images and labels; '' if there are no splits."""
    folders = split_folders(root)
    inside = {s: f for s, f in folders.items() if (f / "images").is_dir()}
    if inside:
        return {split: (folder / "images", folder / "labels") for split, folder in inside.items()}
    require_folder(root / "images", "the folder of images")
    below = split_folders(root / "images")
    if below:
        return {split: (folder, root / "labels" / folder.name) for split, folder in below.items()}
    return {"": (root / "images", root / "labels")}


@dataclass(frozen=True)
class _Stated:
    """What ``data.yaml`` says: its path and its content."""

    path: Path
    content: Mapping[Any, Any]

    @property
    def keypoint_numbers(self) -> int:
        """Numbers of the keypoints behind the box in each line; 0 if the data have none."""
        shape = self.content.get("kpt_shape")
        sides = [as_whole(side) for side in shape] if isinstance(shape, list) else []
        if shape is not None and (len(sides) != 2 or not all(side and side > 0 for side in sides)):
            raise DataError(f"{self.path}: kpt_shape {short(shape)}; wanted [KEYPOINTS, 2 or 3]")
        return (sides[0] or 0) * (sides[1] or 0) if sides else 0


def _stated(root: Path) -> _Stated | None:
    """Read ``data.yaml``, if there is one."""
    path = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    if path is None:
        return None
    try:
        content: Any = load_yaml(read_text(path, "the names of the classes"))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not YAML ({reason}); wanted 'names:' of the classes") from error
    return _Stated(path, content if isinstance(content, Mapping) else {})


def _stated_parts(root: Path, stated: _Stated) -> dict[str, list[tuple[Path, Path]]]:
    """Return the images of the splits that ``data.yaml`` names; {} if it names none that is there.

    A split is a folder, a list of images (``.txt``), or several of them; relative to ``path``,
    or to the folder of ``data.yaml``, which data sets that were moved lie in.
    """
    base = stated.content.get("path")
    bases = [root / expanded(base)] if isinstance(base, str) else []
    parts: dict[str, list[tuple[Path, Path]]] = {}
    for split in SPLIT_NAMES:
        value = stated.content.get(split)
        pairs: list[tuple[Path, Path]] = []
        for text in value if isinstance(value, list) else [value] if value else []:
            place = _place(str(text).replace("\\", "/"), (*bases, root))
            if place is None:
                logger.warning(
                    "%s: %s: %s is not there; the images are looked for in %s as usual",
                    stated.path, split, text, root,
                )  # fmt: skip
                return {}
            pairs += _listed_pairs(place) if place.is_file() else _pairs(place, _labels_of(place))
        if pairs:
            parts[split] = pairs
    return parts


def _place(text: str, bases: Sequence[Path]) -> Path | None:
    """Find a folder or a list of images; ``../`` in front is Roboflow's slip."""
    texts = (text, re.sub(r"^(\.\./)+", "", text))
    return next((b / t for b in bases for t in texts if (b / t).exists()), None)


def _labels_of(images: Path) -> Path:
    """Return the folder of labels: ``labels`` in place of the last ``images``, else the same."""
    parts = list(images.parts)
    if "images" not in parts:
        return images / "labels" if (images / "labels").is_dir() else images
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _listed_pairs(listing: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for line in read_text(listing, "one image per line").split("\n"):
        if line.strip():
            image = listing.parent / line.strip().replace("\\", "/")
            pairs.append((image, (_labels_of(image.parent) / image.name).with_suffix(".txt")))
    return pairs


def _pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Return each image below a folder with its label file; it need not be there.

    Names are compared as ``list_by_stem`` does. Labels of no image are counted and told.
    """
    files = sorted(labels.rglob("*")) if labels.is_dir() else []
    by_stem = {
        same_spelling(path.relative_to(labels).with_suffix("").as_posix()): path
        for path in files
        if path.suffix.lower() == ".txt" and path.name not in LISTS
        and not is_hidden(path.relative_to(labels))
    }  # fmt: skip
    pairs = []
    for image in images_below(images):
        beside = image.relative_to(images).with_suffix("")
        label = by_stem.pop(same_spelling(beside.as_posix()), None)
        pairs.append((image, label or labels / f"{beside.as_posix()}.txt"))
    if by_stem and pairs:
        alone = list(by_stem.values())
        logger.warning("%s and %d more: no image of these labels", alone[0], len(alone) - 1)
    return pairs


def _names(root: Path, stated: _Stated | None) -> list[str]:
    if stated is not None:
        return _names_of_yaml(stated)
    listing = next((root / name for name in LISTS if (root / name).is_file()), None)
    if listing is None:
        raise DataError(
            f"{root}: neither {' nor '.join((*NAME_FILES[:1], *LISTS))}; wanted the class names in "
            "the order of their ids; write them, one per line"
        )
    return read_classes(listing, least=1)


def _names_of_yaml(stated: _Stated) -> list[str]:
    path, names = stated.path, stated.content.get("names")
    if isinstance(names, Mapping):
        ids = [as_whole(key) for key in names]
        if ids != list(range(len(ids))):
            raise DataError(f"{path}: names of ids {ids[:8]}; wanted 0, 1, 2, ... in this order")
        names = list(names.values())
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise DataError(f"{path}: no 'names'; wanted the class names in the order of their ids")
    count = as_whole(stated.content.get("nc"))
    if count not in (None, len(names)):
        raise DataError(f"{path}: nc is {count}, and there are {len(names)} names; correct one")
    return [same_spelling(str(name)) for name in names]


def _read_split(
    pairs: Sequence[tuple[Path, Path]], names: Sequence[str], keypoint_numbers: int
) -> Listed[BoxPicture]:
    pictures: list[BoxPicture] = []
    problems: list[str] = []
    twice: list[str] = []
    unlabelled: list[Path] = []
    of_points: list[int] = []
    for image, labels in pairs:
        try:
            size = image_size(image)
            lines = read_text(labels, "labels").split("\n") if labels.is_file() else []
        except DataError as error:
            problems.append(f"{error}; {TODO}")
            continue
        unlabelled += [] if labels.is_file() else [image]
        rows: list[list[float]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if DECIMAL_COMMAS.fullmatch(line.strip()):
                text = line.strip()[:60]
                problems.append(f"{labels}: line {number}: '{text}'; wanted decimal points; {TODO}")
                continue
            words = line.replace(",", " ").split()
            of_points += [_points_of(words[1:])]
            row = _row(words, size, names, keypoint_numbers)
            if isinstance(row, str):
                problems.append(f"{labels}: line {number}: {row}; {TODO}")
            elif row in rows:  # tools write an object twice
                twice.append(f"{labels}: line {number}")
            else:
                rows.append(row)
        boxes = box_rows(rows)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        pictures.append(BoxPicture(image, image.stem, size, boxes, areas, box_rows([])))
    if not keypoint_numbers and of_points and min(of_points) == max(of_points) > 0:
        count = of_points[0]
        problems.insert(
            0,
            f"{pairs[0][1].parent}: all {len(of_points)} lines hold a box and {count} numbers of "
            f"keypoints behind it; wanted 'kpt_shape: [{count // 3}, 3]' in {NAME_FILES[0]}",
        )
    if twice:
        logger.warning("%s repeats a box (%d such lines): it counts once", twice[0], len(twice))
    if unlabelled:
        logger.warning(
            "%s: no label file (%d of %d images): background without a box",
            unlabelled[0], len(unlabelled), len(pairs),
        )  # fmt: skip
    return Listed(tuple(pictures), tuple(problems))


def _points_of(words: Sequence[str]) -> int:
    """Return how many numbers of x, y, visibility follow a box; 0 where it is no such line.

    Each visibility is 0, 1 or 2, which no point of a polygon is, and the points lie in the box.
    """
    numbers = [as_number(word) for word in words]
    if len(numbers) < 7 or (len(numbers) - 4) % 3 or any(one is None for one in numbers):
        return 0
    x, y, w, h, *rest = (float(one or 0) for one in numbers)
    points = [rest[i : i + 3] for i in range(0, len(rest), 3)]
    inside = all(
        seen in (0, 1, 2)
        and (not seen or (abs(a - x) <= w / 2 + EDGE and abs(b - y) <= h / 2 + EDGE))
        for a, b, seen in points
    )
    return len(rest) if inside else 0


def _row(
    words: Sequence[str], size: tuple[int, int], names: Sequence[str], keypoint_numbers: int
) -> list[float] | str:
    """Return x0, y0, x1, y1 in pixels and the class id of a line, or what is wrong.

    keypoint_numbers  how many numbers of keypoints follow a box, which are not read
    """
    height, width = size
    label = as_whole(words[0])
    if label is None or not 0 <= label < len(names):
        return f"class {words[0]}; wanted 0..{len(names) - 1}, the ids of {', '.join(names[:8])}"
    read = [as_number(word) for word in words[1:]]
    numbers = [number for number in read if number is not None]
    if keypoint_numbers and len(read) == 4 + keypoint_numbers:
        read, numbers = read[:4], [number for number in read[:4] if number is not None]
    if len(numbers) < len(read) or len(numbers) < 4 or (len(numbers) > 6 and len(numbers) % 2):
        return f"'{' '.join(words)[:60]}'; wanted CLASS x y width height, or a polygon"
    if len(numbers) == 5 and not 0 <= numbers[4] <= 1:
        return (
            f"'{' '.join(words)[:60]}'; the last number is no score of 0..1; wanted CLASS x y "
            "width height; a rotated box is written by its four corners"
        )
    if len(numbers) <= 5:  # a fifth: the score of a prediction
        x, y, w, h = numbers[:4]
        parts = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        parts = (
            min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]),
        )  # fmt: skip
    if min(parts) < -EDGE or max(parts) > 1 + EDGE:
        return (
            f"box {' '.join(words[1:5])}; wanted centre and sides in parts of the image, 0..1; "
            "divide pixels by its width and height"
        )
    corners = (parts[0] * width, parts[1] * height, parts[2] * width, parts[3] * height)
    problem = box_problem(corners, size)
    return problem if problem is not None else [*clipped(corners, size), label]


def _split_off(
    root: Path, pairs: Sequence[tuple[Path, Path]], val_fraction: float, random_seed: int
) -> dict[str, list[tuple[Path, Path]]]:
    if not 0 < val_fraction < 1:
        raise DataError(f"val_fraction: {val_fraction}; wanted a number between 0 and 1")

    def place(pair: tuple[Path, Path]) -> tuple[int, Path]:
        name = f"{random_seed}/{pair[0].stem}"
        return zlib.crc32(name.encode(errors="surrogateescape")), pair[0]

    order = sorted(pairs, key=place)
    count = max(1, round(val_fraction * len(pairs))) if len(pairs) > 1 else 0
    kept = {image for image, _ in order[:count]}
    logger.info(
        "%s: no train/ and val/ folders; %d of %d images (%.0f %%, chosen by file name) are kept "
        "for validation", root, count, len(pairs), 100 * val_fraction,
    )  # fmt: skip
    return {
        "train": [pair for pair in pairs if pair[0] not in kept],
        "val": [pair for pair in pairs if pair[0] in kept],
    }
