"""Nothing is run twice, and nothing that differs is taken for the same."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.base import Keeps, Pass, Report
from fnac.passes.emit.clean import Clean
from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.running import runner as runner_module
from fnac.passes.running.run import random_feed, run
from fnac.passes.running.runner import SESSIONS, Runner, without_weights
from fnac.passes.running.verify import noise
from tests.support.graphs import assert_same_outputs, graph

BODY = """(float[N,4,8,8] x) => (float[N,4,8,8] y)
    <float[4,4,3,3] w, float[4] g, float[4] b, float[4] m, float[4] v, float limit = {6.0}>
    { h = Conv<pads = [1, 1, 1, 1]>(x, w) n = BatchNormalization(h, g, b, m, v)
      y = Clip(n, , limit) }"""


class Counted:
    """Counts what onnxruntime is asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = self.runs = 0
        real = runner_module.open_session

        def open_session(*arguments: object) -> object:
            self.opened += 1
            session = real(*arguments)  # type: ignore[arg-type]
            counted = self

            class Session:
                def get_outputs(self) -> object:
                    return session.get_outputs()

                def run(self, *given: object) -> object:
                    counted.runs += 1
                    return session.run(*given)

            return Session()

        monkeypatch.setattr(runner_module, "open_session", open_session)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def network() -> Graph:
    return graph(BODY, values={"v": [1, 4, 16, 64]})


def test_a_graph_that_ran_last_is_not_run_again(counted: Counted) -> None:
    g, runner = network(), Runner()
    first = runner.run(g, random_feed(g))
    again = runner.run(g.copy(), random_feed(g))  # the same weights, and equal inputs
    assert (counted.opened, counted.runs) == (1, 1)
    np.testing.assert_array_equal(first["y"], again["y"])


@pytest.mark.parametrize("what", ["weight", "input", "output"])
def test_other_numbers_run_in_the_same_session(what: str, counted: Counted) -> None:
    g, runner = network(), Runner()
    feed = random_feed(g)
    first = runner.run(g, feed)
    other = g.copy()
    if what == "weight":
        weight = other.nodes[0].inputs[1]
        weight.values = weight.values * 2
    elif what == "input":
        feed = random_feed(g, random_seed=1)
    second = runner.run(other, feed, ["h"] if what == "output" else [])
    assert counted.runs == 2
    assert counted.opened == (2 if what == "output" else 1)
    np.testing.assert_array_equal(second["y"], run(other, feed)["y"])
    assert np.array_equal(first["y"], second["y"]) == (what == "output")


def test_another_attribute_is_another_session(counted: Counted) -> None:
    g, runner = network(), Runner()
    feed = random_feed(g)
    first = runner.run(g, feed)
    g.nodes[1].attrs["epsilon"] = 3.0
    assert not np.array_equal(first["y"], runner.run(g, feed)["y"])
    assert counted.opened == 2


def test_few_sessions_are_kept(counted: Counted) -> None:
    g, runner = network(), Runner()
    for size in (8, 16, 24, 32):
        runner.run(g, random_feed(g, (size, size)))
    assert len(runner._sessions) == SESSIONS


def test_the_run_after_a_pass_is_the_run_before_the_next(counted: Counted) -> None:
    g = network()
    g.nodes[2].metadata["exporter"] = "a note"
    manager = PassManager()
    manager.run([FoldBatchNorm(), Clean(), Clean()], g)
    assert [entry.verdict for entry in manager.ledger] == ["equal", "equal", "not run"]
    assert counted.opened == 2  # before and after the first pass; the second changes notes alone
    assert counted.runs <= 2 + 2  # and the noise


class _Spoil(Pass):
    name = "spoil"
    keeps = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        weight = graph.nodes[0].inputs[1]
        weight.values = weight.values + 1
        return Report({"h": "spoilt"})


def test_a_weight_that_was_changed_is_seen_behind_a_pass_that_was_right() -> None:
    with pytest.raises(Exception, match="spoil: the result must compute what the graph before"):
        PassManager().run([FoldBatchNorm(), _Spoil()], network())


def test_weights_are_fed_and_single_numbers_stored() -> None:
    model, weights = without_weights(network())
    assert set(weights) == {"w", "g", "b", "m", "v"}
    assert [t.name for t in model.graph.initializer] == ["limit"]
    assert {i.name for i in model.graph.input} == {"x", *weights}


def test_scales_stay_stored() -> None:
    g = graph(
        """(float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>
           { y = Resize<mode = "nearest">(x, , s) }"""
    )
    model, weights = without_weights(g)
    assert weights == {}
    assert noise(g, random_feed(g))["y"] < 1e-6
    assert [t.name for t in model.graph.initializer] == ["s"]


def test_a_model_with_graphs_inside_is_run_as_a_whole() -> None:
    g = graph(
        """(float[2] x) => (float[2] y) <bool c = {1}, float[2] w = {2.0, 3.0}>
           { y = If<then_branch = g () => (float[2] t) { t = Mul(x, w) },
                    else_branch = g () => (float[2] e) { e = Neg(x) }>(c) }"""
    )
    _, weights = without_weights(g)
    assert weights == {}
    feed = {"x": np.array([1, 10], "f4")}
    assert_same_outputs(g, g.copy())
    np.testing.assert_array_equal(run(g, feed)["y"], [2, 30])
