"""The comparison that every pass test leans on can fail."""

from __future__ import annotations

import pytest

from tests.support.graphs import assert_same_outputs, graph, outputs, renamed, text

CONV = """(float[N,2,8,8] x) => (float[N,4,8,8] y) <float[4,2,3,3] w>
          { h = Conv<pads=[1,1,1,1]>(x, w) y = Relu(h) }"""


def test_text_shows_nodes_attributes_and_shapes() -> None:
    assert text(graph(CONV)) == "h = Conv(x, w[4, 2, 3, 3]) pads=[1, 1, 1, 1]\ny = Relu(h)"


@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
def test_one_changed_weight_is_seen(tolerance: float) -> None:
    before = graph(CONV)
    after = before.copy()
    weight = after.nodes[0].inputs[1]
    values = weight.values.copy()
    values[3, 0, 1, 1] += 1
    weight.values = values
    with pytest.raises(AssertionError):
        assert_same_outputs(before, after, tolerance=tolerance)
    assert_same_outputs(before, before.copy())


def test_renamed_computes_the_same_under_other_names() -> None:
    before = graph(CONV)
    after = renamed(before)
    assert not {"x", "y", "h", "w"} & {t.name for n in after.nodes for t in n.inputs + n.outputs}
    a, b = outputs(before)["y"], outputs(after)[after.outputs[0].name]
    assert (a == b).all()
