from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.errors import ArgumentError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running.run import run
from fnac.passes.shrink.block_fits import BlockFits
from fnac.passes.super_network.choose import Choose
from fnac.passes.super_network.mix import Mix
from tests.passes.shrink.test_narrowing import twins
from tests.support.mbconv_networks import mbconv_network
from tests.support.resnet_networks import resnet_network

Array = np.ndarray


def images() -> Array:
    return np.random.default_rng(5).integers(-3, 4, (24, 3, 16, 16)).astype("f4")


def mixed(g: Graph, mix: Mix) -> tuple[Graph, PassManager]:
    manager = PassManager()
    return manager.run([mix], g.copy()), manager


def gap(a: Graph, b: Graph) -> float:
    x = images()
    one, other = (next(iter(run(g, {"x": x}).values())) for g in (a, b))
    return float(abs(one - other).max() / abs(one).max())


@pytest.mark.parametrize("bn", [True, False])
def test_a_narrower_candidate_computes_what_it_can(bn: bool) -> None:
    """Half of each block's hidden channels stand there twice: fitted, half of them do all."""
    g = mbconv_network([(8, 2, 1)], expansion=4, bn=bn, bias=not bn)
    g.refresh_shapes()
    for name in ("b1_ex", "b2_ex"):
        count = next(n for n in g.nodes if n.name == name).inputs[1].shape[0]
        for channel in range(count // 2):
            twins(g, name, channel, count - 1 - channel)
    found = {}
    for name in ("fit", "fna"):
        fits = BlockFits(g, images()) if name == "fit" else None
        mix = Mix(kernels=(3,), expansions=(2,), skip=False, strategy=name, fits=fits)
        made, manager = mixed(g, mix)
        target = manager.run([Choose("k3e2-k3e2")], made)
        found[name] = gap(g, target)
        words = next(e.report.initializers for e in manager.ledger if e.name == "mix")
        assert any("fitted, relative error" in w for w in words.values()) == (name == "fit")
    assert found["fit"] < 1e-3 < found["fna"]


def test_a_bottleneck_is_fitted_at_both_of_its_convolutions() -> None:
    g = resnet_network([(16, 1, 1)], kind="bottleneck", bn=False, bias=True)
    g.refresh_shapes()
    block = find_blocks(g).blocks[0]
    fitted = BlockFits(g, images()).narrowed(block, 4)
    assert not isinstance(fitted, str)
    arrays, error = fitted
    assert arrays["spatial"].weight.shape == (4, 4, 3, 3)
    assert arrays["restore"].weight.shape == (16, 4, 1, 1)
    assert 0 < error < 1


def test_without_images_there_is_nothing_to_fit_to() -> None:
    with pytest.raises(ArgumentError, match="strategy=fit fits weights to features of images"):
        Mix(strategy="fit").run(mbconv_network())
