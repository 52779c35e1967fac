"""The cost term of the search (FNA++ Eq. 8, 9), with lambda fixed or steered to a budget.

Fixed, as in the paper: loss = task + lambda * log10(E), E the expected cost of the searchable
layers in B, and Adam sees the gradient of the sum.

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
from torch import Tensor

from fnac.search.costs import SpaceCosts

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
    """Return log10 of the expected cost in B (1e9) of the searchable layers (Eq. 9)."""
    return torch.log10(expected_searchable(alphas, costs) / 1e9)


def softmax_rows(alphas: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return softmax of every row in float64."""
    rows = []
    for alpha in alphas:
        row = np.exp(np.asarray(alpha, dtype=np.float64) - np.max(alpha))
        rows.append(row / row.sum())
    return rows


@dataclasses.dataclass(frozen=True)
class Push:
    """One push of the cost term: what to add to the alphas, its lambda, where it lands."""

    shifts: list[np.ndarray]
    lambda_: float
    expected: float


class Steering:
    """Holds the expected cost of the whole network on a path to the budget.

    start    expected cost at the first alpha step
    steps    alpha steps of the whole search; the budget is reached after ``reach`` of them
    """

    def __init__(
        self, space: SpaceCosts, budget: int, *, start: float, steps: int, reach: float = 0.5
    ) -> None:
        self.space, self.budget, self.start = space, budget, start
        self._ramp = max(1, round(reach * steps))
        # The dearest network needs no push: there is nothing to hold back.
        self.active = budget < space.greatest()
        self._costs = [np.array(layer.costs, dtype=np.float64) for layer in space.layers]

    def target(self, step: int) -> float:
        """Return the expected cost wanted after alpha step ``step`` (from 0)."""
        share = min(1.0, (step + 1) / self._ramp)
        return self.start * (self.budget / self.start) ** share

    def push(self, alphas: Sequence[np.ndarray], step: int, lr: float) -> Push:
        """Find the push that puts the expected cost of ``alphas`` on the path.

        alphas   one (n,) array per layer, after Adam's step on the task gradient
        lr       the alphas' learning rate; no alpha is pushed by more than 10 times as much
        """
        probabilities = softmax_rows(alphas)
        means = [float(p @ c) for p, c in zip(probabilities, self._costs, strict=True)]
        searchable = math.fsum(means)
        if not self.active or searchable <= 0:
            return Push(
                [np.zeros(len(c)) for c in self._costs], 0.0, self.space.fixed + searchable
            )
        slopes = [(c - m) / (searchable * _LN10) for c, m in zip(self._costs, means, strict=True)]
        steepest = max(float(np.abs(slope).max()) for slope in slopes)
        limit = 10.0 / max(steepest, 1e-30)  # lr * lambda * steepest <= 10 lr
        wanted = self.target(step) - self.space.fixed

        def landing(lambda_: float) -> float:
            moved = softmax_rows([a - lr * lambda_ * s for a, s in zip(alphas, slopes)])
            return math.fsum(float(p @ c) for p, c in zip(moved, self._costs))

        low, high = -limit, limit  # landing(low) is the dearest, landing(high) the cheapest
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if landing(middle) > wanted:
                low = middle
            else:
                high = middle
        shifts = [-lr * high * slope for slope in slopes]
        return Push(shifts, high, self.space.fixed + landing(high))
