"""The divergence of a student's class scores from a teacher's (Hinton et al. 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def softened_divergence(
    logits: Tensor, teacher: Tensor, temperature: float, *, axis: int = 1
) -> Tensor:
    """Return T^2 KL(softmax(teacher / T), softmax(logits / T)) at each place, float32.

    The classes' ``axis`` is gone from the result. T^2 keeps the gradient's size at any T.
    """
    original = functional.log_softmax(teacher.float() / temperature, dim=axis)
    student = functional.log_softmax(logits.float() / temperature, dim=axis)
    return temperature**2 * (original.exp() * (original - student)).sum(axis)


def softened_binary_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the softened divergence of sigmoids, one number per score, float32."""
    original, student = teacher.float() / temperature, logits.float() / temperature
    chance = original.sigmoid()
    yes = functional.logsigmoid(original) - functional.logsigmoid(student)
    no = functional.logsigmoid(-original) - functional.logsigmoid(-student)
    return temperature**2 * (chance * yes + (1 - chance) * no)
