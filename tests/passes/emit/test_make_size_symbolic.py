from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.emit.make_size_symbolic import MakeSizeSymbolic
from tests.support.graphs import applied, assert_same_outputs, graph, outputs, text

PYRAMID = """(float[N,3,8,8] x) => (float[N,4,8,8] y, float[N,32] f)
    <float[4,3,3,3] w, int64[2] t = {0, 32}>
    { a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) s = Shape<start = 2>(x)
      b = Shape<end = 2>(a) u = Concat<axis = 0>(b, s) y = Resize<mode = "nearest">(a, , , u)
      p = AveragePool<kernel_shape = [2, 2]>(x) q = Conv(p, w) g = GlobalMaxPool(q)
      h = Concat<axis = 1>(g, g, g, g, g, g, g, g) f = Reshape(h, t) }"""


def test_height_and_width_are_freed_with_the_outputs_that_follow() -> None:
    before = graph(PYRAMID)
    after, report = applied(MakeSizeSymbolic(), before)
    assert report.rewrote == {"x": "8x8 -> any size"}
    assert [list(t.shape) for t in (*after.inputs, *after.outputs)] == [
        ["N", 3, "height", "width"], ["N", 4, "y.dim2", "y.dim3"], ["N", 32],
    ]  # fmt: skip
    assert text(after) == text(before)
    assert after.manifest["size"] == [8, 8]
    assert_same_outputs(before, after)
    picture = np.ones((1, 3, 12, 10), np.float32)
    assert outputs(after, {"x": picture})["y"].shape == (1, 4, 12, 10)
    assert applied(MakeSizeSymbolic(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("""(float[N,3,4,4] x) => (float[N,3,8,8] y) <float[4] s = {1, 1, 2, 2}, int64[1] k = {3}>
            { a = Resize<mode = "nearest">(x, , s) y = Relu(a) }""", None),
        ("""(float[1,3,4,4] x) => (float[1,3,8,8] y) <int64[4] s = {1, 3, 8, 8}>
            { y = Resize<mode = "nearest">(x, , , s) }""", "y (Resize) has fixed sizes"),
        ("""(float[N,3,4,4] x) => (float[N,3,8,8] y) <int64[3] s = {3, 8, 8}>
            { n = Shape<end = 1>(x) t = Concat<axis = 0>(n, s)
              y = Resize<mode = "nearest">(x, , , t) }""", "y (Resize) has fixed sizes"),
        ("""(float[1,3,4,4] x) => (float[1,48] y) <int64[2] t = {1, 48}>
            { y = Reshape(x, t) }""", "at 68x36, "),
        ("(float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu(x) }", ""),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(body: str, why: str | None) -> None:
    before = graph(body)
    after, report = applied(MakeSizeSymbolic(), before)
    if why is None:
        assert list(report.rewrote) == ["x"]
        return
    assert report.rewrote == {}
    assert [t.shape for t in after.inputs] == [t.shape for t in before.inputs]
    assert (list(report.left.values()) or [""])[0].startswith(why)
