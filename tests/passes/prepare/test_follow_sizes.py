from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.emit.make_size_symbolic import MakeSizeSymbolic
from fnac.passes.prepare.follow_sizes import FollowSizes
from tests.support.graphs import applied, assert_same_outputs, graph, outputs, text

DECODER = """(float[N,3,8,12] x) => (y)
    <float[4,3,3,3] w, float[4,8,1,1] v, int64[2] small = {4, 6}, int64[2] large = {8, 12},
     int64[1] zero = {0}, int64[1] two = {2}>
    { a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) g = GlobalAveragePool(a)
      s = Shape(g) n = Slice(s, zero, two) t = Concat<axis = 0>(n, small)
      r = Resize<mode = "linear">(g, , , t) c = Concat<axis = 1>(a, r) d = Conv(c, v)
      q = Shape(d) o = Slice(q, zero, two) u = Concat<axis = 0>(o, large)
      y = Resize<mode = "linear">(d, , , u) }"""


def test_a_decoder_of_one_size_takes_any() -> None:
    before = graph(DECODER)
    after, report = applied(FollowSizes(), before)
    assert report.rewrote == {
        "r": "4x6 -> the size of a",
        "y": "8x12 -> the size of x",
    }
    assert_same_outputs(before, after)
    freed, _ = applied(MakeSizeSymbolic(), after)
    picture = np.ones((1, 3, 20, 16), np.float32)
    assert outputs(freed, {"x": picture})["y"].shape == (1, 4, 20, 16)
    assert applied(FollowSizes(), after)[1].rewrote == {}


def test_scales_of_something_pooled_are_sizes_too() -> None:
    before = graph(
        """(float[N,3,8,8] x) => (y) <float[4] s = {1, 1, 8, 8}>
        { g = GlobalMaxPool(x) r = Resize<mode = "nearest">(g, , s) y = Add(x, r) }"""
    )
    after, report = applied(FollowSizes(), before)
    assert report.rewrote == {"r": "8x8 -> the size of x"}
    assert_same_outputs(before, after)


def test_a_channel_shuffle_and_flat_outputs_take_any_size() -> None:
    before = graph(
        """(float[1,4,6,8] x) => (y, z)
        <int64[5] five = {1, 2, 2, 6, 8}, int64[4] four = {1, 4, 6, 8}, int64[3] flat = {1, 4, 48}>
        { a = Reshape(x, five) b = Transpose<perm = [0, 2, 1, 3, 4]>(a) y = Reshape(b, four)
          z = Reshape(y, flat) }"""
    )
    after, report = applied(FollowSizes(), before)
    assert report.rewrote == {
        "a": "...x6x8 -> the size of what it reads",
        "y": "...x6x8 -> the size of what it reads",
        "z": "48 -> whatever is left",
    }
    assert_same_outputs(before, after)
    freed, _ = applied(MakeSizeSymbolic(), after)
    found = outputs(freed, {"x": np.ones((1, 4, 10, 3), np.float32)})
    assert [array.shape for array in found.values()] == [(1, 4, 10, 3), (1, 4, 30)]
    assert applied(FollowSizes(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    ("body", "opset", "why"),
    [
        ("""(float[N,3,8,8] x) => (y) <float[4] s = {1, 1, 2, 2}>
            { y = Resize<mode = "nearest">(x, , s) }""", 17, None),
        ("(float[N,3,H,W] x) => (y) <float[4] s> { y = Relu(x) }", 17, None),
        ("""(float[1,3,8,8] x) => (y) <int64[4] s = {1, 3, 5, 5}>
            { y = Resize<mode = "nearest">(x, , , s) }""", 17,
         "no tensor of 5x5 follows the image"),
        ("""(float[1,3,8,8] x) => (y) <int64[2] s = {8, 8}>
            { y = Resize<mode = "nearest", axes = [2, 3]>(x, , , s) }""", 18,
         "it keeps an aspect ratio or names axes"),
        ("""(float[1,3,8,8] x) => (y) <float[1] r, float[4] e, int64[4] s = {1, 3, 8, 8}>
            { y = Resize<mode = "nearest">(x, r, e, s) }""", 11,
         "operator set 11 is below 13; raise-opset first"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(body: str, opset: int, why: str | None) -> None:
    before = graph(body, opset=opset, check=opset > 11)
    after, report = applied(FollowSizes(), before)
    assert report.rewrote == {}
    assert list(report.left.values()) == ([] if why is None else [why])
    assert text(after) == text(before)
