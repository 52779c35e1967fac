from __future__ import annotations

from fnac.passes.emit.clean import Clean
from fnac.passes.manager import PassManager
from fnac.passes.prepare.use_stored_statistics import UseStoredStatistics
from tests.support.graphs import applied, assert_same_outputs, graph, text

TRAINING = """(float[2,2,4,4] x) => (float[2,2,4,4] y)
    <float[2] g, float[2] b, float[2] m, float[2] v>
    { n, mean, var = BatchNormalization<epsilon = 0.0, training_mode = 1>(x, g, b, m, v)
      y = Relu(n) }"""
POSITIVE = {"v": [1.0, 4.0]}


def test_a_network_in_training_mode_uses_what_it_stored() -> None:
    after, report = applied(UseStoredStatistics(), graph(TRAINING, values=POSITIVE))
    assert report.rewrote == {"n": "stored statistics"}
    wanted = graph(
        TRAINING.replace("n, mean, var", "n").replace(", training_mode = 1", ""), values=POSITIVE
    )
    assert text(after) == text(wanted)
    assert_same_outputs(wanted, after)
    assert applied(UseStoredStatistics(), after)[1].rewrote == {}


def test_statistics_that_are_read_are_left() -> None:
    body = TRAINING.replace("y)\n", "y, float[2] mean)\n", 1)
    _, report = applied(UseStoredStatistics(), graph(body, values=POSITIVE))
    assert report.left == {"n": "its new statistics are read"}


def test_clean_leaves_the_outputs_that_training_mode_asks_for() -> None:
    found = graph(TRAINING, values=POSITIVE)
    PassManager().run([Clean()], found)
    assert len(found.nodes[0].outputs) == 3
