from __future__ import annotations

import pytest

from fnac.importer.choice_points import find_points
from fnac.passes.super_network.choice_points import find_choice_points
from tests.support.graphs import graph

CANDIDATES = "a = Relu(x) b = Sigmoid(x)"
MIXING = (
    "p = Softmax<axis=0>(alpha) p0, p1, p2 = Split<axis=0>(p, ones) "
    "m0 = Mul(a, p0) m1 = Mul(p1, b) m2 = Mul(x, p2) s = Sum(m1, m0, m2)"
)


def found(
    candidates: str = CANDIDATES,
    mixing: str = MIXING,
    tail: str = "y = Neg(s)",
    results: str = "float[2,3] y",
    stored: str = "float[3] alpha, int64[3] ones = {1, 1, 1}",
) -> list[tuple[str, str, list[list[str]], list[str]]]:
    """Return the choice points of a network, after asking compiler and importer alike."""
    g = graph(
        f"(float[2,3] x) => ({results}) <{stored}> {{ {candidates} {mixing} {tail} }}", check=False
    )
    ours = [
        (
            p.alpha.name,
            p.entry.name,
            [[n.op for n in region] for region in p.regions],
            [t.name for t in p.outputs],
        )
        for p in find_choice_points(g)
    ]
    assert ours == [
        (p.alpha, p.entry, [[n.op_type for n in r] for r in p.regions], list(p.outputs))
        for p in find_points(g.to_model().graph)
    ]
    return ours


WHOLE = [("alpha", "x", [["Relu"], ["Sigmoid"], []], ["a", "b", "x"])]


def test_a_mixture_is_found_in_the_order_of_its_alphas() -> None:
    assert found() == WHOLE


@pytest.mark.parametrize(
    "candidates",
    [
        "c = Constant<value = float[1] {2.0}>() a = Relu(x) d = Mul(x, c) b = Add(d, c)",
        "c = Constant<value = float[1] {2.0}>() a = Mul(x, c) b = Add(x, c)",
        "a = Relu(x) q = Exp(x) r = Neg(x) b = Add(q, r)",
    ],
    ids=["a constant of its own", "a constant that two read", "two ways inside a candidate"],
)
def test_what_is_one_all_the_same(candidates: str) -> None:
    assert len(found(candidates)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tail": "y = Add(s, a)"},
        {"results": "float[2,3] y, float[2,3] b"},
        {"tail": "y = Add(s, m0)"},
        {"tail": "y = Mul(s, p0)"},
        {"candidates": "h = Neg(x) a = Relu(h) b = Sigmoid(h)"},
        {"candidates": "h = Neg(x) a = Relu(h) g = Sigmoid(x) b = Add(g, h)"},
        {"mixing": MIXING.replace("Mul(x, p2)", "Mul(a, p2)")},
        {"mixing": MIXING.replace("Mul(x, p2)", "Mul(x, p1)")},
        {"mixing": MIXING.replace("Mul(x, p2)", "Mul(p0, p2)")},
        {"mixing": MIXING.replace("Sum(m1, m0, m2)", "Sum(m1, m0)")},
        {"mixing": MIXING.replace("Sum(m1, m0, m2)", "Max(m1, m0, m2)")},
        {"mixing": MIXING.replace("Softmax<axis=0>(alpha)", "Sigmoid(alpha)")},
        {
            "mixing": "k = Neg(alpha) "
            + MIXING.replace("Softmax<axis=0>(alpha)", "Softmax<axis=0>(k)")
        },
        {"stored": "float[1,3] alpha, int64[3] ones = {1, 1, 1}"},
    ],
    ids=[
        "a candidate's tensor read outside",
        "a candidate's tensor an output",
        "a weighed candidate read outside",
        "a share read outside",
        "two entries",
        "a node that works for two candidates",
        "one tensor weighed twice",
        "one share used twice",
        "a product of two shares",
        "a share that is not summed up",
        "no sum",
        "no softmax",
        "alphas that are computed",
        "alphas that are no vector",
    ],
)
def test_what_misses_one_condition_is_none(changes: dict[str, str]) -> None:
    assert found(**changes) == []


def test_a_mixture_of_one_is_none() -> None:
    one = "p = Softmax<axis=0>(alpha) p0 = Split<axis=0>(p, ones) m0 = Mul(a, p0) s = Sum(m0)"
    assert found("a = Relu(x)", one, stored="float[1] alpha, int64[1] ones = {1}") == []
