"""YAML keys of the detection readers: what each must look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fnac.errors import UsageError

from ..class_files import read_classes
from ..folders import same_spelling

COCO_KEYS = frozenset({"annotations", "images", "classes"})
VOC_KEYS = frozenset({"lists", "images", "annotations", "classes", "first_pixel"})


def coco_options(options: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    """Check ``annotations`` (split: json), ``images`` (split: folder), ``classes``; UsageError."""
    for key, form in (("annotations", "split: file"), ("images", "split: folder")):
        files = options.get(key, {})
        if not isinstance(files, dict) or not all(isinstance(f, str) for f in files.values()):
            raise UsageError(f"{where}: {key} {files!r}; wanted '{form}' lines")
    return with_classes(options, base, where)


def voc_options(options: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    """Check ``lists`` (split: files of names), ``images``, ``annotations``, ``classes``."""
    if "lists" in options:
        lists = options["lists"]
        if not isinstance(lists, dict):
            raise UsageError(f"{where}: lists {lists!r}; wanted 'split: file' lines")
        lists = {k: [v] if isinstance(v, str) else v for k, v in lists.items()}
        for split, files in lists.items():
            if not isinstance(files, list) or not all(isinstance(f, str) for f in files):
                raise UsageError(f"{where}: lists.{split} {files!r}; wanted a file, or several")
        options["lists"] = lists
    for key in ("images", "annotations"):
        if not isinstance(options.get(key, ""), str):
            raise UsageError(f"{where}: {key} {options[key]!r}; wanted a folder's name")
        if set("{}") & set(str(options.get(key, "")).replace("{split}", "")):
            raise UsageError(f"{where}: {key} {options[key]!r}; only {{split}} may stand in braces")
    if options.get("first_pixel", 1) not in (0, 1):
        raise UsageError(f"{where}: first_pixel {options['first_pixel']!r}; wanted 0 or 1")
    return with_classes(options, base, where)


def with_classes(options: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    """Check ``classes``: a list of names, or a file of them; UsageError."""
    classes = options.get("classes")
    if isinstance(classes, str):
        options["classes"] = read_classes(base / classes, least=1)
    elif classes is not None:
        if (
            not isinstance(classes, list)
            or not classes
            or len(set(map(str, classes))) < len(classes)
        ):
            raise UsageError(f"{where}: classes {classes!r}; wanted a list of names, each once")
        options["classes"] = [same_spelling(str(name)) for name in classes]
    return options
