from __future__ import annotations

import numpy as np

from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.passes.shrink.width_costs import WidthCosts
from fnac.stages.shrinking.choice import Chooser, search_widths

CURVE = np.linspace(1, 0, 9)


def known(scale: float) -> Sensitivity:
    return Sensitivity("a", 8, (2, 4, 8), CURVE, {4: scale * 0.5, 2: scale * 0.75})


CHOOSER = Chooser([known(0.1), known(1.0), known(0.2)], WidthCosts(0, (1, 1, 1), {}))


def test_the_same_share_fills_the_budget_where_it_helps_most() -> None:
    choice = CHOOSER.same_share(16)
    assert choice is not None
    assert choice.widths == (4, 8, 4)


def test_the_search_keeps_the_best_that_it_measured() -> None:
    """The prediction is wrong about the first set: a move that gives it back is found."""

    def measure(widths: tuple[int, ...]) -> float:
        return float((8 - widths[0]) ** 2 + (8 - widths[2]))

    found = search_widths(CHOOSER, 14, 30, measure)
    assert CHOOSER.costs.of(found.widths) <= 14
    assert found.widths[0] == 8
    assert found.measured == measure(found.widths)
    without = search_widths(CHOOSER, 14, 0, measure)
    assert without.measured is None
