from __future__ import annotations

import pytest

from fnac.passes.normalize.unify_pooling import UnifyPooling
from tests.support.graphs import applied, assert_same_outputs, graph, text


def test_a_mean_over_the_whole_map_is_a_global_pooling() -> None:
    before = graph(
        """(float[N,2,4,6] x) => (float[N,2,1,1] y)
        { h = Relu(x) y = AveragePool<kernel_shape = [4, 6], strides = [4, 6]>(h) }"""
    )
    after, report = applied(UnifyPooling(), before)
    assert report.rewrote == {"y": "the whole map is pooled"}
    assert text(after) == "h = Relu(x)\ny = GlobalAveragePool(h)"
    assert_same_outputs(before, after)
    assert applied(UnifyPooling(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    ("pool", "sides"),
    [
        ("kernel_shape = [2, 2], strides = [2, 2]", "2,2"),  # a halving that is the last one
        ("kernel_shape = [3, 3]", "5,5"),
        ("kernel_shape = [4, 4]", "H,W"),  # of any size: then the window is what is meant
    ],
)
def test_another_window_is_a_window(pool: str, sides: str) -> None:
    before = graph(f"(float[N,2,{sides}] x) => (float[N,2,h,w] y) {{ y = AveragePool<{pool}>(x) }}")
    after, report = applied(UnifyPooling(), before)
    assert (report.rewrote, report.left) == ({}, {})
    assert text(after) == text(before)


def test_a_padded_map_is_left() -> None:
    before = graph(
        """(float[N,2,4,4] x) => (float[N,2,3,3] y)
        { y = AveragePool<kernel_shape = [4, 4], pads = [1, 1, 1, 1]>(x) }"""
    )
    _, report = applied(UnifyPooling(), before)
    assert report.left == {"y": "it pads the map that its window covers"}
