"""The objective of a weight step: the task's loss on labels, optionally with a teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fnac.errors import TrainingError, UsageError
from fnac.passes.graph import Graph
from fnac.tasks.base import Task
from fnac.training.settings import TeacherSettings
from fnac.training.teacher import Teacher

BASELINE = "baseline"
"""The teacher that is no file: the seed's architecture, tuned in the same run."""


class Objective(Protocol):
    """A loss of a network's outputs for a batch."""

    @property
    def teacher_digest(self) -> str | None:
        """The digest of the network that is learnt from; None: there is none."""
        ...

    def __call__(
        self, outputs: Tensor | tuple[Tensor, ...], images: Tensor, truths: Tensor
    ) -> Tensor:
        """Return the scalar loss; ``outputs`` as the module returns them for ``images``."""
        ...


@dataclass(frozen=True)
class TaskLoss:
    """The task's own loss on the labels."""

    task: Task

    @property
    def teacher_digest(self) -> None:
        """None: there is no teacher."""
        return None

    def __call__(
        self, outputs: Tensor | tuple[Tensor, ...], images: Tensor, truths: Tensor
    ) -> Tensor:
        """Return the loss."""
        return self.task.loss(outputs, truths, (int(images.shape[-2]), int(images.shape[-1])))


@dataclass(frozen=True)
class Distilled:
    """A weighted mean of the task's loss and the distance from a teacher's outputs.

    weight  share of the teacher's part; 1: the labels are not looked at
    """

    task: Task
    teacher: Teacher
    weight: float
    temperature: float

    @property
    def teacher_digest(self) -> str:
        """The digest of the teacher."""
        return self.teacher.digest

    def __call__(
        self, outputs: Tensor | tuple[Tensor, ...], images: Tensor, truths: Tensor
    ) -> Tensor:
        """Return the loss; UsageError if the teacher's outputs have another form."""
        size = (int(images.shape[-2]), int(images.shape[-1]))
        answers = self.teacher(images)
        try:
            learnt = self.task.distillation(
                outputs, answers[0] if len(answers) == 1 else answers, size, self.temperature
            )
        except TrainingError as error:
            raise UsageError(f"--teacher {self.teacher.name}: {error}") from error
        if self.weight == 1:
            return learnt
        return torch.lerp(self.task.loss(outputs, truths, size), learnt, self.weight)


def open_objective(
    task: Task,
    settings: TeacherSettings,
    student: Mapping[str, Any],
    device: torch.device,
    baseline: Path | None = None,
) -> Objective:
    """Return the objective that ``settings`` ask for; ``student``: the learner's manifest.

    baseline  what ``teacher: baseline`` is; None: there is none
    raises    UsageError for a teacher that is not there, of another task or of other classes
    """
    if settings.teacher is None:
        return TaskLoss(task)
    path: Path | None = Path(settings.teacher)
    if settings.teacher == BASELINE:
        path = baseline
    if path is None:
        raise UsageError(
            f"--teacher {BASELINE}: this run has no tuned seed; name an ONNX file, or let `fnac "
            "adapt` tune the seed first"
        )
    graph = Graph.load(path)
    named = graph.manifest.get("task")
    if named is not None and named != task.name:
        raise UsageError(f"--teacher {path}: its task is {named}; wanted one for {task.name}")
    task.check_network(graph.manifest)
    teacher = Teacher(graph, str(path), student, device)
    return Distilled(task, teacher, settings.teacher_weight, settings.temperature)
