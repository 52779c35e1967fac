"""YOLO label folders: one text file per image, lines ``CLASS x y width height`` in 0..1.

``images/SPLIT/NAME.jpg`` + ``labels/SPLIT/NAME.txt``, or ``SPLIT/images`` + ``SPLIT/labels``
(Roboflow), or ``images/`` + ``labels/`` without splits: then a fraction is kept for validation,
chosen by file name and the data's random seed. Names of the classes are those of ``data.yaml``
(``names``: a list, or id: name), or of ``classes.txt``, ``obj.names``. Polygons (YOLO's
segmentation labels) become their boxes; an image without a label file has no object.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fnac.errors import DataError

from ..class_files import read_classes
from ..files import image_size, read_text
from ..folders import images_below, require_folder, split_folders
from ..json_files import as_number, as_whole
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
    names = list(classes) if classes is not None else _names(root)
    homes = _homes(root)
    if "" not in homes:
        parts = {
            split: [(image, _label_file(image, *home)) for image in images_below(home[0])]
            for split, home in homes.items()
        }
    else:
        images, labels = homes[""]
        pairs = [(image, _label_file(image, images, labels)) for image in images_below(images)]
        parts = _split_off(root, pairs, val_fraction, random_seed)
    if not any(parts.values()):
        raise DataError(
            f"{root}: no images; wanted images/SPLIT/NAME.jpg; check the path in --data"
        )
    items = {s: partial(_read_split, tuple(pairs), names) for s, pairs in parts.items() if pairs}
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


def _label_file(image: Path, images: Path, labels: Path) -> Path:
    return (labels / image.relative_to(images)).with_suffix(".txt")


def _names(root: Path) -> list[str]:
    stated = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    if stated is not None:
        return _names_of_yaml(stated)
    listing = next((root / name for name in LISTS if (root / name).is_file()), None)
    if listing is None:
        raise DataError(
            f"{root}: neither {' nor '.join((*NAME_FILES[:1], *LISTS))}; wanted the class names in "
            "the order of their ids; write them, one per line"
        )
    return read_classes(listing, least=1)


def _names_of_yaml(path: Path) -> list[str]:
    try:
        content: Any = yaml.safe_load(read_text(path, "the names of the classes"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not YAML ({reason}); wanted 'names:' of the classes") from error
    names = content.get("names") if isinstance(content, Mapping) else None
    if isinstance(names, Mapping):
        ids = [as_whole(key) for key in names]
        if ids != list(range(len(ids))):
            raise DataError(f"{path}: names of ids {ids[:8]}; wanted 0, 1, 2, ... in this order")
        names = list(names.values())
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise DataError(f"{path}: no 'names'; wanted the class names in the order of their ids")
    return [str(name) for name in names]


def _read_split(pairs: Sequence[tuple[Path, Path]], names: Sequence[str]) -> Listed[BoxPicture]:
    pictures: list[BoxPicture] = []
    problems: list[str] = []
    for image, labels in pairs:
        try:
            size = image_size(image)
            lines = read_text(labels, "labels").split("\n") if labels.is_file() else []
        except DataError as error:
            problems.append(f"{error}; {TODO}")
            continue
        rows: list[list[float]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if DECIMAL_COMMAS.fullmatch(line.strip()):
                text = line.strip()[:60]
                problems.append(f"{labels}: line {number}: '{text}'; wanted decimal points; {TODO}")
                continue
            row = _row(line.replace(",", " ").split(), size, names)
            if isinstance(row, str):
                problems.append(f"{labels}: line {number}: {row}; {TODO}")
            elif row not in rows:  # tools write an object twice
                rows.append(row)
        boxes = box_rows(rows)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        pictures.append(BoxPicture(image, image.stem, size, boxes, areas, box_rows([])))
    return Listed(tuple(pictures), tuple(problems))


def _row(words: Sequence[str], size: tuple[int, int], names: Sequence[str]) -> list[float] | str:
    """Return x0, y0, x1, y1 in pixels and the class id of a line, or what is wrong."""
    height, width = size
    label = as_whole(words[0])
    if label is None or not 0 <= label < len(names):
        return f"class {words[0]}; wanted 0..{len(names) - 1}, the ids of {', '.join(names[:8])}"
    read = [as_number(word) for word in words[1:]]
    numbers = [number for number in read if number is not None]
    if len(numbers) < len(read) or len(numbers) < 4 or (len(numbers) > 6 and len(numbers) % 2):
        return f"'{' '.join(words)[:60]}'; wanted CLASS x y width height, or a polygon"
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
