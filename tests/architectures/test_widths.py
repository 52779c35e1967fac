from __future__ import annotations

import itertools

import numpy as np
import pytest

from fnac.architectures.widths import choose_widths
from fnac.passes.shrink.width_costs import WidthCosts


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_that_of_trying_all(seed: int) -> None:
    """Chains, where neighbours' widths multiply: least error among all that meet the budget."""
    rng = np.random.default_rng(seed)
    widths = [sorted(rng.choice(np.arange(1, 9), 3, replace=False).tolist()) for _ in range(4)]
    errors = [sorted(rng.random(3).tolist(), reverse=True) for _ in widths]
    pairs = {(i, i + 1): int(rng.integers(1, 9)) for i in range(3)}
    costs = WidthCosts(7, tuple(int(n) for n in rng.integers(0, 9, 4)), pairs)
    every = [
        (sum(row[k] for row, k in zip(errors, picks)), tuple(w[k] for w, k in zip(widths, picks)))
        for picks in itertools.product(range(3), repeat=4)
    ]
    reachable = sorted(costs.of(chosen) for _, chosen in every)
    for budget in (reachable[0], reachable[len(reachable) // 3], reachable[-1]):
        best = min(error for error, chosen in every if costs.of(chosen) <= budget)
        found = choose_widths(errors, widths, costs, budget)
        assert found is not None
        assert costs.of(found) <= budget
        lost = sum(row[w.index(n)] for row, w, n in zip(errors, widths, found))
        assert lost == pytest.approx(best, rel=2e-4)
    assert choose_widths(errors, widths, costs, reachable[0] - 1) is None
