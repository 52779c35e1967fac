"""Facts of a run in words: task, data, budget, metric, costs; no path of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fnac.names import TASK_MEANINGS
from fnac.report.run_folder import RunFolder
from fnac.text import human

FACTS = {
    "task": "adapt.task",
    "data": "adapt.data",
    "seed": "adapt.seed",
    "head": "expand.head",
    "classes": "expand.classes",
    "size": "expand.size",
    "budget": "adapt.budget",
    "strategy": "adapt.strategy",
    "remap": "expand.remap",
    "recipe": "adapt.recipe",
}
"""What the top of the page tells -> the setting that says it."""
COUNTS = ("madds", "params")
PATH = re.compile(r"(?<![\w./~])~?/(?:[^\s:'\",/]+(?: [^\s:'\",/]+)*/)+(?=[^\s:'\",/])")
"""The folders of a path that begins at a root or a home."""
SPELLED = {
    **{name.lower(): name for name in ("mIoU", "mAP", "AP", "PCKh@0.5", "PCK@0.2")},
    **{"madds": "MAdds", "params": "parameters"},
}


def fact(run: RunFolder, name: str) -> str | None:
    """Return one setting of the run in words: from its configuration, else from the manifest."""
    if run.single and name in ("strategy", "budget", "remap") and "search" not in run.config:
        return None
    section, _, setting = FACTS[name].partition(".")
    value = (run.config.get(section) or {}).get(setting)
    if value is None:
        key = {"classes": "num_classes", "seed": "name"}.get(name, name)
        value = run.manifest.get(key)
    if isinstance(value, Mapping):
        value = value.get("name", value.get("spec"))
    if name == "size" and isinstance(value, (list, tuple)):
        return "×".join(map(str, value))
    if value is None and run.config.get("adapt") is not None:
        if name == "data":
            return "built-in scenes"
        if name == "budget":
            return "1x (the default)"
    return (
        None if value is None or isinstance(value, (list, tuple)) else without_folders(str(value))
    )


def task_in_words(run: RunFolder) -> str:
    """Return the task as a title has it: ``Semantic segmentation``."""
    meaning = TASK_MEANINGS.get(fact(run, "task") or "", "Adaptation").partition(":")[0]
    return meaning[:1].upper() + meaning[1:]


def data_in_words(run: RunFolder) -> str | None:
    """Return the data set as a title has it: ``built-in scenes``, or the name of its folder."""
    said = fact(run, "data")
    reader, _, path = (said or "").partition(":")
    if reader == "scenes":
        return "built-in scenes"
    return PurePath(path).name or said


def seed_in_words(run: RunFolder) -> str | None:
    """Return the seed as a title has it: ``the bundled seed``, or its file's name."""
    said = fact(run, "seed")
    return "the bundled seed" if said == "bundled" else PurePath(said).name if said else None


def without_folders(text: str) -> str:
    """Return a text with the folders of absolute paths left out: the page may be passed on."""
    return PATH.sub("…/", text)


def metric_of(run: RunFolder) -> tuple[str, float] | None:
    """Return the metric's name and the target's value in percent; None if it was not measured."""
    metric = run.results.get("metric")
    if not isinstance(metric, dict) or not is_number(metric.get("value")):
        return None
    return str(metric.get("name")), float(metric["value"])


def side(run: RunFolder, name: str) -> Mapping[str, Any]:
    """Return what ``results.json`` says of ``seed``, ``target`` or ``baseline``; {} if nothing."""
    value = run.results.get(name)
    return value if isinstance(value, dict) else {}


def figure(key: str, value: Any) -> str:
    """Write a count as 24.52G, any other number with two decimals."""
    if not is_number(value):
        return "" if value is None or isinstance(value, (dict, list)) else str(value)
    if key in COUNTS or isinstance(value, int):
        return human(value)
    return f"{value:.2f}"


def spelled(key: str) -> str:
    """Write the name of a figure as people do."""
    return SPELLED.get(key, key.replace("_", " "))


def is_number(value: object) -> bool:
    """Say whether a value is a number, and not true or false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
