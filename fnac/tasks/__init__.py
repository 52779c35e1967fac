"""Tasks: the loss, the metric and the pictures of each kind of problem."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fnac.config import build
from fnac.errors import UsageError

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task

TASKS = {
    "seg": "fnac.tasks.segmentation",
    "det": "fnac.tasks.detection.task",
    "pose": "fnac.tasks.pose.task",
    "cls": "fnac.tasks.classification",
}
"""Task -> module with ``Settings`` (section ``task`` of a configuration) and ``open_task``."""


def make_task(
    name: str,
    source: DataSource,
    manifest: Mapping[str, Any] | None = None,
    section: Mapping[str, Any] | None = None,
) -> Task:
    """Return the task ``name`` on the classes of ``source``.

    manifest  of the network to be trained or measured, where there is one (anchors are in it)
    section   settings of the task, as ``--set task.key=value`` gives them
    """
    task: Task = _module(name).open_task(task_settings(name, section or {}), source, manifest or {})
    return task


def task_settings(name: str, section: Mapping[str, Any]) -> Any:
    """Fill the settings of a task; raises UsageError for what it has not."""
    return build(_module(name).Settings, section, "task")


def _module(name: str) -> Any:
    if name not in TASKS:
        raise UsageError(f"--task {name}: there is none of this name; known: {', '.join(TASKS)}")
    return importlib.import_module(TASKS[name])
