from __future__ import annotations

import pytest

from fnac.passes.base import Report
from fnac.passes.normalize.lift_constants import LiftConstants
from tests.support.graphs import applied, assert_same_outputs, constants, graph, text


@pytest.mark.parametrize(
    ("node", "values"),
    [
        ("Constant<value = float[2] {1.0, 2.0}>()", [1.0, 2.0]),
        ("Constant<value_float = 3.0>()", 3.0),
        ("Constant<value_floats = [3.0, 4.0]>()", [3.0, 4.0]),
    ],
)
def test_a_constant_is_an_initializer_of_its_name_from_the_door_on(
    node: str, values: object
) -> None:
    found = graph(f"(float[N,2] x) => (float[N,2] y) {{ c = {node} y = Add(x, c) }}")
    assert constants(found) == {"c": values}
    assert [n.op for n in found.nodes] == ["Add"]


def test_one_float_that_only_scales_becomes_a_scalar_which_is_never_learned() -> None:
    before = graph(
        """(float[N,2] x) => (float[N,2] y) <float[1] gamma>
        { c = Constant<value_floats = [3.0]>() h = Mul(x, gamma) y = Add(h, c) }"""
    )
    assert [n.op for n in before.nodes] == ["Constant", "Mul", "Add"]
    after, report = applied(LiftConstants(), before)
    assert report.rewrote == {"c": "stored"}
    assert constants(after)["c"] == 3.0
    assert len(constants(after)["gamma"]) == 1  # an initializer of the file: a learned factor
    assert_same_outputs(before, after)


def test_one_float_beside_a_scalar_keeps_its_shape() -> None:
    before = graph(
        """(float[N,2] x) => (float[K] y) <float half>
        { c = Constant<value_floats = [3.0]>() y = Add(half, c) }"""
    )
    after, _ = applied(LiftConstants(), before)
    assert constants(after)["c"] == [3.0]
    assert_same_outputs(before, after)


def test_integers_of_one_value_are_stored_and_floats_are_padding() -> None:
    before = graph(
        """(float[N,2] x) => (float[N,2] y, int64[2] z) <int64[1] s = {2}, int64[2] t>
           { c = ConstantOfShape<value = float[1] {3.0}>(s) y = Add(x, c)
             d = ConstantOfShape<value = int64[1] {3}>(s) z = Add(t, d) }"""
    )
    after, report = applied(LiftConstants(), before)
    assert report.rewrote == {"d": "stored"}
    assert report.left == {"c": "floats of one value are padding, not weights"}
    assert constants(after)["d"] == [3, 3]
    assert_same_outputs(before, after)


def test_a_tied_initializer_is_untied_under_the_name_of_the_output() -> None:
    before = graph(
        """(float[N,2] x) => (float[N,2] y) <float[2] bn1_gamma>
           { bn2_gamma = Identity(bn1_gamma) h = Mul(x, bn1_gamma) y = Mul(h, bn2_gamma) }"""
    )
    after, report = applied(LiftConstants(), before)
    assert report == Report(
        rewrote={"bn2_gamma": "initializer untied"},
        initializers={"bn2_gamma": "copied from bn1_gamma"},
    )
    assert text(after) == "h = Mul(x, bn1_gamma[2])\ny = Mul(h, bn2_gamma[2])"
    first, second = (node.inputs[1].values for node in after.nodes)
    assert first is not second
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "node", "why"),
    [
        (
            "(float[N,2] x) => (float[N,2] y, float[2] c) "
            "{ c = Constant<value = float[2] {1.0, 2.0}>() y = Add(x, c) }",
            "c",
            "it is an output of the network",
        ),
        (
            "(float[N,2] x) => (float[N,2] y) "
            "{ s = Shape(x) c = ConstantOfShape(s) y = Add(x, c) }",
            "c",
            "its shape is computed",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, node: str, why: str) -> None:
    before = graph(body)
    after, report = applied(LiftConstants(), before)
    assert report.left == {node: why}
    assert text(after) == text(before)
