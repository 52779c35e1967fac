from __future__ import annotations

import pytest

from fnac.errors import UnsupportedGraphError
from fnac.tasks.network_check import check_logits
from tests.support.graphs import graph


@pytest.mark.parametrize("task", ["cls", "seg"])
@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "HardSigmoid"])
def test_probabilities_are_no_logits(op: str, task: str) -> None:
    found = graph(f"(float[N,4] x) => (float[N,4] y) {{ h = Relu(x) y = {op}(h) }}")
    with pytest.raises(UnsupportedGraphError, match=rf"y \({op}\): the output y holds probabilit"):
        check_logits(found, task)


def test_what_moves_numbers_about_hides_no_softmax() -> None:
    found = graph(
        "(float[N,4,1,1] x) => (float[N,4] y) { s = Softmax<axis=1>(x) i = Identity(s) "
        "y = Flatten(i) }"
    )
    with pytest.raises(
        UnsupportedGraphError, match=r"s \(Softmax\): the output y holds probabilit"
    ):
        check_logits(found, "cls")


@pytest.mark.parametrize(
    "behind",
    [
        "y = Resize(s, e, e, sizes)",
        "y = Clip(s, low, high)",
        "y = Mul(s, hundred)",
        "a = Mul(hundred, s) y = Add(a, low)",
    ],
)
def test_what_changes_probabilities_by_constants_hides_none(behind: str) -> None:
    found = graph(
        "(float[1,4,2,2] x) => (float[1,4,N,M] y) <float[0] e = {}, int64[4] sizes = {1,4,4,4}, "
        "float low = {1e-7}, float high = {1}, float hundred = {100}> "
        f"{{ s = Softmax<axis=1>(x) {behind} }}"
    )
    with pytest.raises(UnsupportedGraphError, match=r"s \(Softmax\): the output y holds"):
        check_logits(found, "seg")


def test_probabilities_that_weigh_features_are_none() -> None:
    found = graph("(float[1,4] x) => (float[1,4] y) { s = Sigmoid(x) y = Mul(s, x) }")
    check_logits(found, "cls")


def test_logits_and_the_maps_of_other_tasks_are_taken() -> None:
    check_logits(graph("(float[N,4] x) => (float[N,4] y) { y = Relu(x) }"), "cls")
    check_logits(graph("(float[N,4] x) => (float[N,4] y) { y = Sigmoid(x) }"), "pose")
