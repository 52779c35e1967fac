from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.hidden_channels import find_hidden
from fnac.passes.graph import Graph
from fnac.passes.shrink.answers import Judge
from fnac.passes.shrink.joint import Slope, measure_slopes
from fnac.passes.shrink.narrowing import Narrowing, Step
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.sensitivity import Sensitivity
from tests.passes.shrink.test_narrowing import answers, images, network

WIDTHS = (1, 2, 3, 4)


def narrowed(g: Graph, x: np.ndarray, widths: list[int]) -> tuple[Narrowing, list[Step]]:
    narrowing = Narrowing(Original(g, x))
    names = [one.name for one in find_hidden(g)[0]]
    return narrowing, [narrowing.narrow(name, w) for name, w in zip(names, widths, strict=True)]


def known(g: Graph) -> list[Sensitivity]:
    sets = find_hidden(g)[0]
    return [
        Sensitivity(one.name, one.count, (*WIDTHS, one.count), np.zeros(one.count + 1), {})
        for one in sets
    ]


@pytest.mark.parametrize("kind", ["mbconv", "mbconv folded", "basic"])
def test_a_slope_is_the_error_of_a_little_less_of_one_set(kind: str) -> None:
    """The last set: nothing behind it could be fitted, so the whole network is the measure."""
    g, x = network(kind), images()
    judge = Judge(g, images(8), batch=8)
    sets = len(find_hidden(g)[0])
    narrowing, steps = narrowed(g, x, [4] * sets)
    before = answers(narrowing.result, x)
    slopes = measure_slopes(narrowing, steps, known(g), judge, most=9)
    assert np.array_equal(answers(narrowing.result, x), before)  # measuring changes nothing

    last = slopes[-1]
    assert isinstance(last, Slope)
    smaller, _ = narrowed(g, x, [*[4] * (sets - 1), 4])
    again = smaller.restarted()
    look = again.look(last.name)
    again.cut(look, 3, again.eliminate(look))
    change = judge.error_of(again.result) - judge.error_of(smaller.result)
    if change > 0:
        assert last.error(3) == pytest.approx(change, rel=1e-6)
    assert last.error(4) == 0
    assert all(one.gain > 0 for one in slopes)


def test_sets_at_their_least_width_take_the_median() -> None:
    g, x = network("mbconv"), images()
    judge = Judge(g, images(8), batch=8)
    sets = len(find_hidden(g)[0])
    narrowing, steps = narrowed(g, x, [1, *[4] * (sets - 1)])
    first, *others = (one.gain for one in measure_slopes(narrowing, steps, known(g), judge, most=9))
    measured = [gain for gain in others if gain > 0.051 * first]  # the rest is lifted to 0.05
    assert first == pytest.approx(np.median(measured))


def test_sets_that_are_not_measured_take_the_median() -> None:
    g, x = network("basic"), images()
    judge = Judge(g, images(8), batch=8)
    sets = len(find_hidden(g)[0])
    narrowing, steps = narrowed(g, x, [4] * sets)
    slopes = measure_slopes(narrowing, steps, known(g), judge, most=2)
    assert len(slopes) == sets > 2
    assert len({one.gain for one in slopes[1:-1]}) == 1
