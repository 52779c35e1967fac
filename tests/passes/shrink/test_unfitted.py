from __future__ import annotations

import pytest

from fnac.passes.blocks.hidden_channels import find_hidden
from fnac.passes.cost import profile
from fnac.passes.shrink.narrowing import Narrowing
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.unfitted import first_channels
from tests.passes.shrink.test_narrowing import NETWORKS, answers, images, network


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_costs_what_the_fitted_network_costs(kind: str) -> None:
    g, x = network(kind), images()
    names = [one.name for one in find_hidden(g)[0]]
    widths = {name: 2 + number % 2 for number, name in enumerate(names)}
    before = answers(g, x)
    made = first_channels(g, widths)
    narrowing = Narrowing(Original(g, x))
    for name in names:
        narrowing.narrow(name, widths[name])
    narrowing.result.cleanup()
    narrowing.result.refresh_shapes()
    assert profile(made).madds == profile(narrowing.result).madds < profile(g).madds
    assert answers(made, x).shape == before.shape
    assert (answers(g, x) == before).all()
