from __future__ import annotations

import pytest

from fnac.passes.normalize.unify_clip import UnifyClip, compose
from tests.support.graphs import applied, assert_same_outputs, constants, graph, text

BOUNDS = """<float zero = {0.0}, float six = {6.0}, float[1] six1 = {6.0}, float two = {2.0},
             float[1] zero1 = {0.0}, float low = {-2.0}>"""


@pytest.mark.parametrize(
    ("nodes", "wanted", "bounds"),
    [
        ("y = Clip(x, zero)", "y = Relu(x)", {}),
        ("y = Clip(x, zero1, six1)", "y = Clip(x, y.min[], y.max[])", {"y.min": 0, "y.max": 6}),
        ("h = Relu(x) y = Min(h, six)", "y = Clip(x, y.min[], y.max[])", {"y.min": 0, "y.max": 6}),
        (
            "h = Min(six, x) y = Max(h, zero1)",
            "y = Clip(x, y.min[], y.max[])",
            {"y.min": 0, "y.max": 6},
        ),
        ("h = Relu(x) k = Relu(h) y = Clip(k, low)", "y = Relu(x)", {}),
        (
            "h = Clip(x, low, six) y = Clip(h, , two)",
            "y = Clip(x, y.min[], y.max[])",
            {"y.min": -2, "y.max": 2},
        ),
        ("y = Max(x, low)", "y = Clip(x, y.min[])", {"y.min": -2}),
        ("h = Clip(x) y = Neg(h)", "y = Neg(x)", {}),
    ],
)
def test_one_spelling(nodes: str, wanted: str, bounds: dict[str, float]) -> None:
    before = graph(f"(float[N,8] x) => (float[N,8] y) {BOUNDS} {{ {nodes} }}")
    after, report = applied(UnifyClip(), before)
    assert report.rewrote
    assert text(after) == wanted
    assert constants(after) == bounds
    assert_same_outputs(before, after)
    assert applied(UnifyClip(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Clip(x, zero, six)",
        "y = Relu(x)",
        "h = Relu(x) k = Clip(h, , two) y = Add(k, h)",  # the first is read twice
        "h = Neg(x) y = Max(x, h)",
    ],
)
def test_what_is_canonical_or_read_twice_stays(nodes: str) -> None:
    before = graph(f"(float[N,8] x) => (float[N,8] y) {BOUNDS} {{ {nodes} }}")
    after, report = applied(UnifyClip(), before)
    assert report.rewrote == {}
    assert text(after) == text(before)


@pytest.mark.parametrize(
    ("body", "opset", "why"),
    [
        (
            "(float[N,8] x) => (float[N,8] y) { y = Clip<min = 0.0, max = 6.0>(x) }",
            9,
            "operator set 9 has bounds as attributes; raise-opset first",
        ),
        (
            "(float[N,8] x, float b) => (float[N,8] y) { y = Clip(x, b) }",
            17,
            "its bounds are not stored floats",
        ),
        (
            "(float[N,8] x) => (float[N,8] y) { y = Clip(x) }",
            17,
            "it joins an input or a constant to the network's output",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, opset: int, why: str) -> None:
    before = graph(body, opset=opset)
    after, report = applied(UnifyClip(), before)
    assert report.left == {"y": why}
    assert text(after) == text(before)


def test_compose_is_one_clip_after_the_other() -> None:
    assert compose((0, 10), (-1, 6)) == (0, 6)
    assert compose((0, 1), (4, 6)) == (4, 4)
    assert compose((7, 9), (4, 6)) == (6, 6)
