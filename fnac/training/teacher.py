"""A teacher: a network that another one learns from, imported, frozen, with its own input."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fnac.data.preprocessing import preprocessing
from fnac.errors import UsageError
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.tasks.network_check import check_pictures
from fnac.training.digests import network_digest

logger = logging.getLogger(__name__)


class Teacher:
    """An ONNX network in torch, in evaluation mode, without gradients.

    graph    the network; name: what messages call it
    student  manifest of the network that learns: images come prepared as it wants them
    """

    def __init__(
        self, graph: Graph, name: str, student: Mapping[str, Any], device: torch.device
    ) -> None:
        graph.check_finite()
        check_pictures(graph)
        self.name, self.manifest, self.digest = name, graph.manifest, network_digest(graph)
        self._sides = _fixed_sides(graph)
        self._module = import_onnx(graph.to_model()).requires_grad_(False).to(device).eval()
        if self._module.choice_points:
            raise UsageError(f"--teacher {name}: it is a super network; derive one first")
        self._mend: tuple[Tensor, Tensor, bool] | None = None
        if graph.manifest.get("preprocessing") and student.get("preprocessing"):
            self._mend = _between(student, graph.manifest, device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for images that are prepared for the student."""
        if self._mend is not None:
            scale, shift, flipped = self._mend
            images = (images.flip(1) if flipped else images) * scale + shift
        if self._sides not in (None, tuple(images.shape[-2:])):
            raise UsageError(
                f"--teacher {self.name}: it takes images of {_by(self._sides)} only; the student "
                f"is trained at {_by(tuple(images.shape[-2:]))}; train at the teacher's size"
            )
        outputs = self._module(images)
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def _between(
    student: Mapping[str, Any], teacher: Mapping[str, Any], device: torch.device
) -> tuple[Tensor, Tensor, bool] | None:
    """Return the conversion from the student's images to the teacher's; None if they are equal."""
    mine, theirs = preprocessing(student), preprocessing(teacher)
    if mine == theirs:
        return None
    (mean, std, color), (wanted_mean, wanted_std, wanted_color) = mine, theirs
    flipped = color != wanted_color
    rows = [torch.tensor(row, dtype=torch.float32) for row in (mean, std, wanted_mean, wanted_std)]
    if flipped:
        rows[:2] = [row.flip(0) for row in rows[:2]]
    scale, shift = rows[1] / rows[3], (rows[0] - rows[2]) / rows[3]
    return scale[:, None, None].to(device), shift[:, None, None].to(device), flipped


def _fixed_sides(graph: Graph) -> tuple[int, int] | None:
    shape = graph.inputs[0].shape
    sides = tuple(shape[2:]) if shape is not None and len(shape) == 4 else ()
    if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
        return int(sides[0]), int(sides[1])
    return None


def _by(sides: tuple[int, ...] | None) -> str:
    return "x".join(map(str, sides or ()))
