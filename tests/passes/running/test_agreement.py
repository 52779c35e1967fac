from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.graph import Graph
from fnac.passes.graph.surgery import values_of
from fnac.passes.running.agreement import UNLIKE, variance_apart
from fnac.passes.running.calibrate import output_statistics
from fnac.stages.opening.calibration import unlike_training
from tests.support.mbconv_networks import mbconv_network


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((24, 3, 16, 16)).astype("f4")


@pytest.fixture(scope="module")
def trained() -> Graph:
    """Return a network whose BatchNormalizations hold the statistics of ``images(0)``, in order."""
    g = mbconv_network([(8, 2, 1), (16, 1, 2)], expansion=4, bn=True)
    for node in g.nodes:
        if node.op != "BatchNormalization":
            continue
        name = node.inputs[0].name
        found = output_statistics(g, [name], images(0))[name]
        values_of(node.inputs[3])[:] = found.mean
        values_of(node.inputs[4])[:] = found.variance + 1e-6
    return g


def test_other_images_of_the_same_kind_are_like_those_of_training(trained: Graph) -> None:
    for seed in (0, 1, 2):
        factor = variance_apart(trained, images(seed))
        assert factor is not None
        assert 1 <= factor < 1.5
    assert unlike_training(trained, images(1)) is None


@pytest.mark.parametrize("scale", [1 / 255, 0.25, 4.0, 255.0])
def test_another_scale_is_told(trained: Graph, scale: float) -> None:
    factor = variance_apart(trained, images(1) * np.float32(scale))
    assert factor is not None
    assert factor > UNLIKE
    finding = unlike_training(trained, images(1) * np.float32(scale))
    assert finding is not None
    assert "--mean" in finding.text


def test_a_network_without_batchnorm_says_nothing() -> None:
    g = mbconv_network([(8, 2, 1)], expansion=4, bn=False, bias=True)
    assert variance_apart(g, images(0)) is None
