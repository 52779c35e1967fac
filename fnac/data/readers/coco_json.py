"""Load COCO's JSON, or say why a file is not one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnac.errors import DataError

from ..files import image_size
from ..folders import image_named, same_spelling
from ..json_files import as_key, as_whole, read_json, short, unquoted

LISTS = ("images", "annotations", "categories")
Key = int | str
"""An id: of an image, a category, an annotation."""
Images = dict[Key, tuple[Path, tuple[int, int]]]
"""Image id -> (file, (H, W))."""


def load_coco(path: Path) -> dict[str, Any]:
    """Return the content of a COCO JSON file; raises DataError if the file is not one."""
    content = read_json(path, "COCO annotations")
    keys = ", ".join(sorted(content)[:8]) if isinstance(content, dict) else type(content).__name__
    for key in LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(
                f"{path}: found {keys or 'an empty object'}; wanted an object with the lists "
                f"{', '.join(LISTS)} (COCO's format); name the right file"
            )
    return dict(content)


def coco_classes(content: dict[str, Any], path: Path) -> dict[Key, str]:
    """Return category id -> name, in the order of the file; raises DataError."""
    classes: dict[Key, str] = {}
    names: list[str] = []
    entries = [one for one in content["annotations"] if isinstance(one, dict)]
    used = {as_key(one.get("category_id")) for one in entries}
    for record in content["categories"]:
        key = as_key(record.get("id")) if isinstance(record, dict) else None
        name = record.get("name") if isinstance(record, dict) else None
        if key is None or not isinstance(name, str | int) or not str(name).strip():
            raise DataError(f"{path}: category {short(record)}; wanted an object with id and name")
        name = same_spelling(str(name).strip())
        if key in classes:
            raise DataError(f"{path}: category {key} is listed twice; wanted each id once")
        if name in names:  # tools write a group's name beside its classes', and use one of them
            other = next(k for k, n in classes.items() if n == name)
            if {key, other} <= used:
                raise DataError(
                    f"{path}: categories {other}, {key} are both called '{name}', and annotations "
                    "have both; wanted each name once; give one of the two ids to all of them"
                )
            if key in used:
                classes = {key if k == other else k: n for k, n in classes.items()}
            continue
        classes[key] = name
        names.append(name)
    if not classes:
        raise DataError(f"{path}: no categories; wanted at least one")
    return classes


def require_names(names: Sequence[str], known: Sequence[str], path: Path, first: Path) -> None:
    """Raise DataError for a category of ``path`` that the file of another split lacks."""
    more = [name for name in names if name not in known]
    if more:
        raise DataError(
            f"{path}: category '{more[0]}' is not among those of {first.name} "
            f"({', '.join(known[:8])}); wanted the same names in every split; correct "
            "'categories', or give 'classes' in a YAML file as --data"
        )


def image_records(content: dict[str, Any], path: Path, folder: Path, problems: list[str]) -> Images:
    """Return the images of a file; append a sentence for each wrong record to ``problems``.

    A size that is not stated is read from the image.
    """
    records: Images = {}
    owners: dict[Path, Key] = {}
    for place, record in enumerate(content["images"]):
        key = as_key(record.get("id")) if isinstance(record, dict) else None
        if key is None:
            problems.append(
                f"{path}: images[{place}]: found {short(record)}; wanted an object with id"
            )
            continue
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            problems.append(f"{path}: image {key}: file_name {short(name)}; wanted a file's name")
            continue
        if key in records:
            problems.append(f"{path}: image {key}: the id is there twice; wanted each id once")
            continue
        image = image_named(folder, name, (path.parent, path.parent.parent))
        place_of = Path(os.path.normpath(image))
        if place_of in owners:  # a folder left out of a name, or data sets that were put together
            problems.append(
                f"{path}: images {unquoted(owners[place_of])} and {unquoted(key)} are both {image}"
                "; wanted each file once, with all its annotations"
            )
            continue
        size = _size(record, image)
        if isinstance(size, str):
            problems.append(f"{path}: image {key}: {size}")
            continue
        records[key], owners[place_of] = (image, size), key
    return records


def _size(record: dict[str, Any], image: Path) -> tuple[int, int] | str:
    """Return (H, W) as stated or else from the image file; or what is wrong."""
    stated = record.get("height"), record.get("width")
    if not any(stated):
        try:
            return image_size(image)
        except DataError as error:
            return str(error)
    height, width = (as_whole(side) for side in stated)
    if height is None or width is None or not (0 < height < 2**31 and 0 < width < 2**31):
        return (
            f"file_name {short(record['file_name'])}, width {short(stated[1])}, height "
            f"{short(stated[0])}; wanted a name and the image's size in pixels"
        )
    return height, width
