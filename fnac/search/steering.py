"""The cost term of the search (FNA++ Eq. 8, 9), with lambda fixed or steered to a budget.

Fixed, as in the paper: loss = task + lambda * log10(E), E the expected cost of the searchable
layers in G, and Adam sees the gradient of the sum.

Steered, the default: a lambda that lands on a budget depends on the data, the network, the
optimiser and the number of steps, so it is found anew at every alpha step. Adam steps on the task
gradient alone; then the cost term moves the alphas along its *natural* gradient,

    alpha_li  -=  lr * lambda * (c_li - mean_l) / (E ln 10),

with the one lambda, of either sign, that puts the expected cost on a path which runs geometrically
from where it was to the budget and stays there. Along this direction

* the expected cost is strictly monotone (its derivative is minus a variance): bisection finds
  lambda;
* the push does not pass through Adam's moments, so a large lambda cannot drown later task
  gradients;
* the sum over steps stays linear in cost: two architectures of equal cost keep the order that the
  task gave them, however hard the cost was pushed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fnac.architectures.costs import SpaceCosts

_LN10 = math.log(10.0)
_BISECTIONS = 60


def expected_searchable(alphas: Sequence[Tensor], costs: Sequence[Tensor]) -> Tensor:
    """Return the expected cost of the searchable layers (Eq. 8), a differentiable scalar.

    alphas   one (n,) tensor per layer; costs: one (n,) tensor per layer, same device and dtype
    """
    return torch.stack(
        [(torch.softmax(alpha, 0) * cost).sum() for alpha, cost in zip(alphas, costs, strict=True)]
    ).sum()


def cost_term(alphas: Sequence[Tensor], costs: Sequence[Tensor]) -> Tensor:
    """Return log10 of the expected cost in G (1e9) of the searchable layers (Eq. 9)."""
    return torch.log10(expected_searchable(alphas, costs) / 1e9)


@dataclasses.dataclass(frozen=True)
class Push:
    """One push of the cost term: the change of the alphas, its lambda, the resulting cost."""

    shifts: list[np.ndarray]
    lambda_: float
    expected: float


class Steering:
    """Keeps the expected cost of the whole network on a path to the budget.

    start    expected cost at the first alpha step
    steps    alpha steps of the whole search; the budget is reached after ``reach`` of them
    """

    def __init__(
        self, space: SpaceCosts, budget: int, *, start: float, steps: int, reach: float = 0.5
    ) -> None:
        self.space, self.budget, self.start = space, budget, start
        self._ramp = max(1, round(reach * steps))
        # The most expensive network needs no push: there is nothing to hold back.
        self.active = budget < space.greatest()
        self._costs = _matrix([layer.costs for layer in space.layers], 0.0)

    def target(self, step: int) -> float:
        """Return the target of the expected cost after alpha step ``step`` (from 0)."""
        share = min(1.0, (step + 1) / self._ramp)
        return float(self.start * (self.budget / self.start) ** share)

    def push(self, alphas: Sequence[np.ndarray], step: int, lr: float) -> Push:
        """Find the push that moves the expected cost of ``alphas`` onto the path.

        alphas   one (n,) array per layer, after Adam's step on the task gradient
        lr       the alphas' learning rate; no alpha is pushed by more than 10 times as much
        """
        rows = _matrix(alphas, -np.inf)
        sizes = [len(alpha) for alpha in alphas]

        def costs_of(matrix: np.ndarray) -> np.ndarray:
            weights = np.exp(matrix - matrix.max(axis=1, keepdims=True))
            return np.asarray((weights * self._costs).sum(axis=1) / weights.sum(axis=1))

        means = costs_of(rows)
        searchable = float(means.sum())
        if not self.active or searchable <= 0:
            nothing = [np.zeros(size) for size in sizes]
            return Push(nothing, 0.0, self.space.fixed + searchable)
        slopes = (self._costs - means[:, None]) / (searchable * _LN10)
        slopes[np.isneginf(rows)] = 0.0
        # lr * |lambda| * steepest <= 10 lr
        limit = 10.0 / max(float(np.abs(slopes).max()), 1e-30)
        target = self.target(step) - self.space.fixed
        low, high = -limit, limit  # the most and the least expensive landing
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if costs_of(rows - lr * middle * slopes).sum() > target:
                low = middle
            else:
                high = middle
        shifts = -lr * high * slopes
        return Push(
            [shift[:size] for shift, size in zip(shifts, sizes)],
            high,
            self.space.fixed + float(costs_of(rows + shifts).sum()),
        )


def _matrix(rows: Sequence[ArrayLike], fill: float) -> np.ndarray:
    """Stack rows of unequal length into one float64 matrix, padded with ``fill``."""
    arrays = [np.asarray(row, dtype=np.float64) for row in rows]
    matrix = np.full((len(arrays), max(map(len, arrays))), fill)
    for line, array in zip(matrix, arrays):
        line[: len(array)] = array
    return matrix
