"""Baselines of the search: random architectures of a given cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fnac.architectures.budget import say
from fnac.architectures.costs import SpaceCosts
from fnac.architectures.solve import maximise
from fnac.errors import UsageError


def random_architecture(
    space: SpaceCosts, budget: int, *, random_seed: int, use_at_least: float = 0.95
) -> tuple[int, ...]:
    """Return a random architecture that costs between ``use_at_least`` and all of ``budget``.

    Every candidate draws a Gumbel-distributed score and the best admissible sum wins: one
    architecture for each random seed, never a rejection loop. The floor is dropped where no
    architecture meets it.

    raises   UsageError when nothing fits the budget
    """
    generator = np.random.default_rng(random_seed)
    scores = [generator.gumbel(size=len(layer.candidates)) for layer in space.layers]
    return _affordable(scores, space, budget, use_at_least)


def nearest_architecture(
    space: SpaceCosts,
    budget: int,
    like: Sequence[int],
    generator: np.random.Generator,
    use_at_least: float = 0.95,
) -> tuple[int, ...]:
    """Return the architecture within the budget that shares most layers with ``like``.

    Which layers give way, and to what, is drawn. It costs at least ``use_at_least`` of the budget
    where some architecture does.

    raises   UsageError when nothing fits the budget
    """
    scores = []
    for layer, choice in zip(space.layers, like, strict=True):
        row = 0.1 * generator.random(len(layer.costs))
        row[choice] += 1.0
        scores.append(row)
    return _affordable(scores, space, budget, use_at_least)


def _affordable(
    scores: Sequence[np.ndarray], space: SpaceCosts, budget: int, use_at_least: float
) -> tuple[int, ...]:
    """Return the best sum of scores between ``use_at_least`` and all of the budget."""
    costs = [layer.costs for layer in space.layers]
    most = budget - space.fixed
    floor = int(use_at_least * budget) - space.fixed
    arch = maximise(scores, costs, most=most, least=floor) or maximise(scores, costs, most=most)
    if arch is None:
        raise UsageError(
            f"budget {say(budget, space.unit)}: the least this search space can reach is "
            f"{say(space.least(), space.unit)}; ask for more"
        )
    return arch
