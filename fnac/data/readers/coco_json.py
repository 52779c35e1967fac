"""COCO's json: loading it, and saying what makes it something else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fnac.errors import DataError

from ..json_files import read_json

LISTS = ("images", "annotations", "categories")


def load_coco(path: Path) -> dict[str, Any]:
    """Return the content of a COCO json; raises DataError where the file is not one."""
    content = read_json(path, "COCO annotations")
    found = sorted(content) if isinstance(content, dict) else type(content).__name__
    for key in LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(
                f"{path}: found {found}; wanted an object with the lists {', '.join(LISTS)} "
                "(COCO's format); name the right file"
            )
    return dict(content)


def coco_classes(content: dict[str, Any], path: Path) -> list[tuple[int, str]]:
    """Return (category id, name) in the order of the file; raises DataError."""
    found: list[tuple[int, str]] = []
    for record in content["categories"]:
        key = record.get("id") if isinstance(record, dict) else None
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(key, int) or not isinstance(name, str):
            raise DataError(f"{path}: category {record!r}; wanted an object with id and name")
        found.append((key, name))
    if not found or len({k for k, _ in found}) < len(found) or len(dict(found)) < len(found):
        raise DataError(f"{path}: categories {found}; wanted at least one, each id once")
    names = [name for _, name in found]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        ids = ", ".join(str(key) for key, name in found if name == twice)
        raise DataError(f"{path}: categories {ids} are all called '{twice}'; wanted each name once")
    return found


def image_records(
    content: dict[str, Any], path: Path, problems: list[str]
) -> dict[object, tuple[str, tuple[int, int]]]:
    """Return image id -> (file name, (H, W)); a sentence a wrong record goes to ``problems``."""
    found: dict[object, tuple[str, tuple[int, int]]] = {}
    for place, record in enumerate(content["images"]):
        key = record.get("id") if isinstance(record, dict) else None
        if not isinstance(key, int | str):
            problems.append(f"{path}: images[{place}]: found {record!r}; wanted an object with id")
            continue
        name, width, height = (record.get(k) for k in ("file_name", "width", "height"))
        if not isinstance(name, str) or not all(
            isinstance(side, int) and side > 0 for side in (width, height)
        ):
            problems.append(
                f"{path}: image {key}: file_name {name!r}, width {width!r}, height {height!r}; "
                "wanted a name and the picture's size in pixels"
            )
            continue
        if key in found:
            problems.append(f"{path}: image {key}: the id is there twice; wanted each id once")
            continue
        found[key] = (name, (height, width))
    return found


def number(value: object) -> bool:
    """Say whether ``value`` is a finite number (bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
