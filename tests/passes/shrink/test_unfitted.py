from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.hidden_channels import find_hidden
from fnac.passes.cost import profile
from fnac.passes.shrink.narrowing import Narrowing
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.unfitted import first_channels, largest_channels
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


@pytest.mark.parametrize("kind", NETWORKS)
def test_channels_that_nothing_weighs_go_without_loss(kind: str) -> None:
    g, x = network(kind), images()
    weighed = {}
    for number, channels in enumerate(find_hidden(g)[0]):
        kept = [number % 3, channels.count - 1]
        for reading in channels.readings:
            weight = reading.node.inputs[1]
            values = np.zeros_like(weight.values)
            places = [reading.offset + place for place in kept]
            values[:, places] = weight.values[:, places]
            weight.values = values
        weighed[channels.name] = len(kept)
    made = largest_channels(g, weighed)
    assert profile(made).madds < profile(g).madds
    np.testing.assert_allclose(answers(made, x), answers(g, x), rtol=1e-5, atol=1e-5)
