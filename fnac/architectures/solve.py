"""The exact final choice: the most probable architecture within the budget.

maximise  sum_l log softmax(alpha_l)[a_l]   subject to   floor <= cost(a) <= budget

Costs are integers far above a solver's feasibility tolerance, so HiGHS is not taken at its word:
its answer is counted again in Python integers, and one that breaks a bound by less than the
tolerance is cut off and the program solved again. What remains is exact.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike

from fnac.architectures.budget import say
from fnac.architectures.costs import SpaceCosts
from fnac.errors import UsageError
from fnac.findings import Finding

_SPREAD = 1e3  # the objective is stretched to this range: HiGHS stops at an absolute gap of 1e-6


@dataclasses.dataclass(frozen=True)
class Solution:
    """An architecture, its exact cost, its log-likelihood, and notes on it."""

    arch: tuple[int, ...]
    cost: int
    score: float
    floor_bound: bool
    findings: tuple[Finding, ...] = ()


def log_softmax(alpha: ArrayLike) -> np.ndarray:
    """Return log softmax of one layer's alphas, (n,) float64."""
    row = np.asarray(alpha, dtype=np.float64)
    row = row - row.max()
    return np.asarray(row - np.log(np.exp(row).sum()))


def maximise(
    scores: Sequence[ArrayLike],
    costs: Sequence[Sequence[int]],
    *,
    most: int | None = None,
    least: int | None = None,
) -> tuple[int, ...] | None:
    """Choose one entry per row with the greatest sum of scores and ``least <= cost <= most``.

    scores   L rows of floats; costs: L rows of integers, same lengths; bounds on the summed cost
    returns  L indices, or None when no choice meets the bounds
    """
    rows = [np.asarray(row, dtype=np.float64) for row in scores]
    if most is None and least is None:
        return tuple(int(row.argmax()) for row in rows)
    sizes = [len(row) for row in rows]
    starts = np.cumsum([0, *sizes])
    flat = [int(cost) for row in costs for cost in row]
    divisor = math.gcd(*flat) or 1
    lowest, highest = sum(map(min, costs)), sum(map(max, costs))
    upper = highest if most is None else min(most, highest)
    lower = lowest if least is None else max(least, lowest)
    if lower > upper:
        return None
    # Integer costs: half a unit outside either bound admits nothing new and forgives rounding.
    low, high = -(-lower // divisor) - 0.5, upper // divisor + 0.5
    scale = max(abs(high), 1.0) / _SPREAD
    cost_row = np.array([cost // divisor for cost in flat], dtype=np.float64) / scale
    value = np.concatenate([row - row.max() for row in rows])
    value *= _SPREAD / (float(-value.min()) or 1.0)
    one_each = scipy.sparse.csr_array(
        (np.ones(len(flat)), (np.repeat(np.arange(len(sizes)), sizes), np.arange(len(flat))))
    )
    constraints = [
        scipy.optimize.LinearConstraint(one_each, 1, 1),
        scipy.optimize.LinearConstraint(
            scipy.sparse.csr_array(cost_row[None]), low / scale, high / scale
        ),
    ]
    while True:
        result = scipy.optimize.milp(
            -value,
            constraints=constraints,
            integrality=np.ones(len(flat)),
            bounds=scipy.optimize.Bounds(0, 1),
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:
            if result.status == 2:
                return None
            raise RuntimeError(f"HiGHS stopped without an answer: {result.message}")
        arch = tuple(
            int(result.x[start : start + size].argmax()) for start, size in zip(starts, sizes)
        )
        if lower <= sum(row[a] for row, a in zip(costs, arch)) <= upper:
            return arch
        cut = np.zeros(len(flat))
        cut[starts[:-1] + np.array(arch)] = 1
        constraints.append(
            scipy.optimize.LinearConstraint(scipy.sparse.csr_array(cut[None]), 0, len(sizes) - 1)
        )


def choose_architecture(
    alphas: Sequence[ArrayLike],
    space: SpaceCosts,
    budget: int | None,
    *,
    use_at_least: float = 0.95,
) -> Solution:
    """Choose the most probable architecture of ``space`` that costs at most ``budget``.

    alphas        one row per layer, in network order
    budget        whole network, in the unit of ``space``; None: the argmax of every layer
    use_at_least  share of the budget that must be used where some architecture does; the
                  unbounded answer is kept when it already does
    raises        UsageError naming the least reachable cost when nothing fits the budget
    """
    scores = [log_softmax(alpha) for alpha in alphas]
    costs = [layer.costs for layer in space.layers]

    def solution(arch: tuple[int, ...], bound: bool, *findings: Finding) -> Solution:
        score = math.fsum(row[a] for row, a in zip(scores, arch, strict=True))
        return Solution(arch, space.total(arch), score, bound, findings)

    if budget is None:
        return solution(tuple(int(row.argmax()) for row in scores), False)
    free = maximise(scores, costs, most=budget - space.fixed)
    if free is None:
        raise UsageError(
            f"budget {say(budget, space.unit)}: the least this search space can reach is "
            f"{say(space.least(), space.unit)}; ask for more"
        )
    floor = math.ceil(use_at_least * budget)
    if space.total(free) >= floor:
        return solution(free, False)
    used = space.total(free) / budget
    most = space.fixed + sum(max(row) for row in costs)
    if most < floor:
        return solution(
            free,
            False,
            Finding(
                "budget-above-space",
                f"the budget lies above the largest network of this space, {say(most, space.unit)}",
            ),
        )
    held = maximise(scores, costs, most=budget - space.fixed, least=floor - space.fixed)
    if held is None:
        return solution(
            free,
            False,
            Finding(
                "budget-unused",
                f"the choice uses {used:.1%} of the budget: no network of this space costs between "
                f"{use_at_least:.0%} and 100% of it",
            ),
        )
    return solution(
        held,
        True,
        Finding(
            "held-to-budget",
            f"the alphas alone would have used {used:.1%} of the budget; the choice was held to at "
            f"least {use_at_least:.0%} of it and uses {space.total(held) / budget:.1%}",
        ),
    )
