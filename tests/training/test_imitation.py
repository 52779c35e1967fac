"""How far a student is from its original: nought where equal, one where it knows no image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fnac.errors import TrainingError
from fnac.passes.heads.raw_outputs import RawOutput
from fnac.training.imitation import Imitation


class Answers:
    """A teacher that gives prepared answers, by the first number of each image."""

    name = "answers"

    def __init__(self, *outputs: Tensor) -> None:
        self.outputs = outputs

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        rows = images[:, 0, 0, 0].long()
        return tuple(output[rows] for output in self.outputs)


def images(*rows: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def imitation(meaning: str, output: Tensor, axis: int | None = None) -> Imitation:
    made = Imitation([RawOutput("y", meaning, axis)], Answers(output))  # type: ignore[arg-type]
    count = len(output)
    made.measure_units([images(*range(0, 3)), images(*range(3, count))])
    return made


CASES: list[tuple[str, int | None]] = [
    ("logits", 1), ("logits", -1), ("binary logits", None), ("values", None),
    ("probabilities", 1), ("probabilities", None), ("binary probabilities", None),
]  # fmt: skip


def answers(meaning: str, axis: int | None) -> Tensor:
    drawn = 2 * torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(1))
    if meaning == "probabilities":
        return drawn.softmax(1 if axis is None else axis)
    return drawn.sigmoid() if meaning == "binary probabilities" else drawn


@pytest.mark.parametrize(("meaning", "axis"), CASES)
def test_the_original_is_off_by_nothing_and_a_constant_by_one(
    meaning: str, axis: int | None
) -> None:
    output = answers(meaning, axis)
    made = imitation(meaning, output, axis)
    assert float(made(output, images(*range(5)), torch.empty(0))) == pytest.approx(0, abs=1e-6)
    if meaning == "logits":
        mean = output.softmax(axis or 0).mean(0, keepdim=True).log()
    elif meaning == "binary logits":
        mean = torch.logit(output.sigmoid().mean(0, keepdim=True))
    else:
        mean = output.mean(0, keepdim=True)
    off = float(made(mean.expand_as(output), images(*range(5)), torch.empty(0)))
    assert off == pytest.approx(1, rel=1e-4)


def test_the_divergence_of_classes_is_that_of_the_book() -> None:
    output = answers("logits", 1)
    made = imitation("logits", output, 1)
    student = output.flip(0)
    p, q = output.double().softmax(1), student.double().softmax(1)
    by_hand = float((p * (p.log() - q.log())).sum(1).mean())
    found = float(made(student, images(*range(5)), torch.empty(0))) * made.units[0]
    assert found == pytest.approx(by_hand, rel=1e-5)
    even = -float((p.mean(0) * p.mean(0).log()).sum(0).mean())
    rest = -float((p * p.log()).sum(1).mean())
    assert made.units[0] == pytest.approx(even - rest, rel=1e-5)  # mutual information


def test_outputs_of_any_scale_count_alike() -> None:
    values = answers("values", None)
    raw: Sequence[RawOutput] = [RawOutput("a", "values"), RawOutput("b", "values")]
    made = Imitation(raw, Answers(values, 1000 * values))  # type: ignore[arg-type]
    made.measure_units([images(*range(5))])
    one, other = made.errors((0 * values, 0 * values), images(*range(5)))
    assert float(one) == pytest.approx(float(other), rel=1e-5)


def test_a_gradient_leads_to_the_original() -> None:
    output = answers("binary logits", None)
    made = imitation("binary logits", output)
    student = torch.zeros_like(output, requires_grad=True)
    made(student, images(*range(5)), torch.empty(0)).backward()
    assert student.grad is not None
    assert bool((torch.sign(student.grad) == -torch.sign(output)).all())


def test_an_output_that_never_changes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made = imitation("values", torch.ones(5, 2))
    assert made.units == (1.0,)
    assert "y answers the same for every image" in caplog.text
    assert math.isfinite(float(made(torch.zeros(5, 2), images(*range(5)), torch.empty(0))))


def test_outputs_of_another_shape_are_named() -> None:
    made = imitation("values", answers("values", None))
    with pytest.raises(TrainingError, match=r"its raw outputs are \[\(5, 4, 6\)\], the student's"):
        made(torch.zeros(5, 4, 7), images(*range(5)), torch.empty(0))
