from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.graph import Graph
from fnac.passes.shrink.answers import Judge, Verdict
from tests.support.graphs import graph

ENDS = {
    "arg-max": ("s = Conv(x, a)\n y = ArgMax<axis=1>(s)", {}),
    "softmax": ("s = Conv(x, a)\n y = Softmax<axis=1>(s)", {}),
    "sigmoid": ("s = Conv(x, a)\n y = Sigmoid(s)", {}),
    "task": ("y = Conv(x, a)", {"task": "seg"}),
    "unknown": ("y = Conv(x, a)", {}),
}


def network(end: str, factor: float = 1.0) -> Graph:
    body, manifest = ENDS[end]
    g = graph(f"(float[N,3,6,6] x) => (y) <float[4,3,1,1] a> {{ {body} }}")
    weight = next(iter(g.constants()))
    weight.values = (weight.values * factor).astype("f4")
    g.manifest.update(manifest)
    return g


def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((10, 3, 6, 6)).astype("f4")


def scores(g: Graph, x: np.ndarray) -> np.ndarray:
    weight = next(iter(g.constants())).values[:, :, 0, 0].astype("f8")
    return np.einsum("mc,nchw->nmhw", weight, x.astype("f8"))


@pytest.mark.parametrize("end", ENDS)
def test_the_original_is_no_distance_away(end: str) -> None:
    judge = Judge(network(end), images(), batch=4)
    assert judge.error_of(network(end)) == 0.0


@pytest.mark.parametrize("end", ["arg-max", "softmax", "task"])
def test_class_scores_are_compared_by_their_probabilities(end: str) -> None:
    x = images()
    p, q = (np.exp(scores(network(end, f), x)) for f in (1.0, 0.5))
    p, q = (t / t.sum(axis=1, keepdims=True) for t in (p, q))
    wanted = float((p * np.log(p / q)).sum(axis=1).mean())
    found = Judge(network(end), x, batch=4).error_of(network(end, 0.5))
    assert found == pytest.approx(wanted, rel=1e-4)


def test_scores_of_their_own_are_compared_one_by_one() -> None:
    x = images()
    p, q = (1 / (1 + np.exp(-scores(network("sigmoid", f), x))) for f in (1.0, 0.5))
    wanted = float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean())
    found = Judge(network("sigmoid"), x, batch=4).error_of(network("sigmoid", 0.5))
    assert found == pytest.approx(wanted, rel=1e-3)


def test_other_values_are_compared_in_units_of_their_variance() -> None:
    x = images()
    a, b = (scores(network("unknown", f), x) for f in (1.0, 0.5))
    wanted = float((((a - b) ** 2).mean(axis=(0, 2, 3)) / a.var(axis=(0, 2, 3))).mean())
    found = Judge(network("unknown"), x, batch=4).error_of(network("unknown", 0.5))
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("end", ["arg-max", "softmax", "task"])
def test_classes_count_alike_where_networks_are_ranked(end: str) -> None:
    """The mean over classes of the mean divergence where the original sees that class."""
    x = images()
    p, q = (np.exp(scores(network(end, f), x)) for f in (1.0, 0.5))
    p, q = (t / t.sum(axis=1, keepdims=True) for t in (p, q))
    divergence, seen = (p * np.log(p / q)).sum(axis=1), p.argmax(axis=1)
    by_class = [float(divergence[seen == k].mean()) for k in np.unique(seen)]
    assert len(by_class) > 1
    verdict = Judge(network(end), x, batch=4).verdict_of(network(end, 0.5))
    assert verdict.by_image.shape == (len(x),)
    assert verdict.rank == pytest.approx(float(np.mean(by_class)), rel=1e-4)
    assert abs(verdict.rank - verdict.error) > 3e-4


def test_a_network_beats_another_by_more_than_the_standard_error() -> None:
    worse = Verdict(1.0, np.array([1.0, 2.0, 3.0, 4.0]))
    gain = np.array([0.3, 0.1, 0.2, 0.2])  # mean 0.2, standard error 0.041
    assert Verdict(0.8, worse.by_image - gain).beats(worse)
    assert not Verdict(0.8, worse.by_image - gain + 0.17).beats(worse)
    assert not worse.beats(worse)
