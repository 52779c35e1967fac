"""Distillation without labels: the error against the outputs of a teacher network.

An output's unit is what the original says of one image beyond what it says of all of them: for
class scores the mean divergence of an image's distribution from the mean one at that place, for
anything else the variance about the mean image. So an error of 0 is the original, one of 1 knows
nothing of the image, and outputs of any kind and scale can be added up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fnac.errors import TrainingError
from fnac.passes.heads.raw_outputs import RawOutput
from fnac.training.teacher import Teacher

logger = logging.getLogger(__name__)

LEAST = 1e-8  # probabilities below are taken as this, so that their logarithm is a number
NOTHING = 1e-10  # an output with a unit below says the same of every image
SUMS_TO_ONE = 1e-3

Outputs = Tensor | tuple[Tensor, ...]


class Imitation:
    """The objective: the mean error over the outputs, each in its own unit.

    raw      the outputs, in the order in which the networks return them
    teacher  the network whose outputs are wanted
    """

    def __init__(self, raw: Sequence[RawOutput], teacher: Teacher) -> None:
        self._raw, self._teacher = tuple(raw), teacher
        self.names = tuple(one.name for one in raw)
        self.units: tuple[float, ...] = (1.0,) * len(self._raw)

    @property
    def teacher_digest(self) -> str:
        """The digest of the teacher."""
        return self._teacher.digest

    def __call__(self, outputs: Outputs, images: Tensor, truths: Tensor) -> Tensor:
        """Return the mean error of a batch in float32; ``truths`` are ignored."""
        return torch.stack(self.errors(outputs, images)).mean()

    def errors(self, outputs: Outputs, images: Tensor) -> list[Tensor]:
        """Return the error of each output for ``images``: float32 scalars, 0 if equal."""
        answers = tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
        originals = self._teacher(images)
        shapes = [tuple(t.shape) for t in answers], [tuple(t.shape) for t in originals]
        if shapes[0] != shapes[1] or len(answers) != len(self._raw):
            raise TrainingError(
                f"--teacher {self._teacher.name}: its raw outputs are {shapes[1]}, the student's "
                f"{shapes[0]}; wanted a network of the same outputs"
            )
        return [
            _error(one, student, original) / unit
            for one, student, original, unit in zip(self._raw, answers, originals, self.units)
        ]

    def measure_units(self, batches: Sequence[Tensor]) -> None:
        """Measure the units on some batches of prepared images."""
        count = sum(len(images) for images in batches)
        means: list[Tensor] = []
        for images in batches:
            sums = [
                _expectation(*pair).sum(0, keepdim=True)
                for pair in zip(self._raw, self._teacher(images), strict=True)
            ]
            means = sums if not means else [a + b for a, b in zip(means, sums, strict=True)]
        means = [mean / count for mean in means]
        totals = [0.0] * len(means)
        for images in batches:
            outputs = self._teacher(images)
            for i, (one, output) in enumerate(zip(self._raw, outputs, strict=True)):
                totals[i] += len(images) * float(_from_mean(one, output, means[i]))
        self.units = tuple(
            _unit(one, total / count, mean)
            for one, total, mean in zip(self._raw, totals, means, strict=True)
        )


def _error(one: RawOutput, student: Tensor, original: Tensor) -> Tensor:
    """Return the mean divergence, or squared difference, over all places."""
    logs = _log_probabilities(one, original, original)
    if logs is None:
        return functional.mse_loss(student.float(), original.float())
    answer = _log_probabilities(one, student, original)
    assert answer is not None
    return _divergence(logs, answer)


def _expectation(one: RawOutput, output: Tensor) -> Tensor:
    """Return the quantity to average over images: probabilities, classes last, or the values."""
    logs = _log_probabilities(one, output, output)
    return output.float() if logs is None else logs.exp()


def _from_mean(one: RawOutput, output: Tensor, mean: Tensor) -> Tensor:
    logs = _log_probabilities(one, output, output)
    if logs is None:
        return (output.float() - mean).square().mean()
    return _divergence(logs, mean.clamp(min=LEAST).log())


def _unit(one: RawOutput, varies: float, mean: Tensor) -> float:
    if varies > NOTHING:
        return varies
    logger.warning("%s answers the same for every image, so its error has no unit", one.name)
    return 1.0


def _log_probabilities(one: RawOutput, output: Tensor, original: Tensor) -> Tensor | None:
    """Return log probabilities in float32, classes along the last axis; None for plain values.

    original  the teacher's output, which tells along which axis probabilities sum to one
    """
    numbers = output.float()
    match one.meaning:
        case "logits":
            return functional.log_softmax(numbers.movedim(one.axis or 0, -1), dim=-1)
        case "probabilities":
            axis = _class_axis(original) if one.axis is None else one.axis
            if axis is None:
                return None
            return numbers.movedim(axis, -1).clamp(min=LEAST).log()
        case "binary logits":
            both = functional.logsigmoid(numbers), functional.logsigmoid(-numbers)
            return torch.stack(both, dim=-1)
        case "binary probabilities":
            chances = numbers.clamp(LEAST, 1 - LEAST)
            return torch.stack((chances, 1 - chances), dim=-1).clamp(min=LEAST).log()
        case _:
            return None


def _class_axis(probabilities: Tensor) -> int | None:
    """Return the axis along which all numbers sum to one: the last one, or the channel axis."""
    for axis in (-1, 1):
        sums = probabilities.float().sum(axis)
        if bool(((sums - 1).abs() < SUMS_TO_ONE).all()):
            return axis
    return None


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of log probabilities, classes last."""
    return (teacher.exp() * (teacher - student)).sum(-1).mean()
