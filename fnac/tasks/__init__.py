"""Tasks: the loss, the metric and the images of each kind of problem."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fnac.names import known_name

from .settings import (
    ClassificationSettings,
    DetectionSettings,
    PoseSettings,
    SegmentationSettings,
    TaskSettings,
)

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task

TASKS: dict[str, tuple[str, type[TaskSettings]]] = {
    "seg": ("fnac.tasks.segmentation", SegmentationSettings),
    "det": ("fnac.tasks.detection.task", DetectionSettings),
    "pose": ("fnac.tasks.pose.task", PoseSettings),
    "cls": ("fnac.tasks.classification", ClassificationSettings),
}
"""Task -> the module with its ``open_task``, and its settings (section ``task``)."""


def make_task(
    name: str,
    source: DataSource,
    manifest: Mapping[str, Any] | None = None,
    settings: TaskSettings | None = None,
) -> Task:
    """Return the task ``name`` on the classes of ``source``.

    manifest  of the network to be trained or measured, where there is one (anchors are in it)
    settings  of this task; None: its defaults
    """
    kind = settings_kind(name)
    module = importlib.import_module(TASKS[name][0])
    task: Task = module.open_task(settings or kind(), source, manifest or {})
    return task


def settings_kind(name: str) -> type[TaskSettings]:
    """Return the settings class of a task; UsageError lists the tasks."""
    return TASKS[known_name("--task", name, TASKS)][1]
