from __future__ import annotations

import pytest

from fnac.passes.blocks.find import find_blocks
from fnac.passes.prepare.store_weights import StoreWeights
from tests.support.graphs import applied, assert_same_outputs, graph, text

STANDARDISED = """(float[N,2,8,8] x) => (float[N,4,8,8] y)
    <float[4,2,3,3] v, float[4,1,1,1] gain, int64[3] axes = {1, 2, 3}, float eps = {0.25},
     float[4] b, float[4,4,3,3] u, float[4,1,1,1] scale>
    { m = ReduceMean(v, axes) c = Sub(v, m) q = Mul(c, c) s = ReduceMean(q, axes)
      e = Add(s, eps) d = Sqrt(e) n = Div(c, d) w = Mul(n, gain)
      p = Conv<pads = [1,1,1,1]>(x, w, b) r = Relu(p)
      w2 = Mul(u, scale) y = Conv<pads = [1,1,1,1]>(r, w2) }"""


def test_computed_weights_become_initializers_of_their_names() -> None:
    before = graph(STANDARDISED, opset=18)
    after, report = applied(StoreWeights(), before)
    assert text(after).split("\n") == [
        "p = Conv(x, w[4, 2, 3, 3], b[4]) pads=[1, 1, 1, 1]",
        "r = Relu(p)",
        "y = Conv(r, w2[4, 4, 3, 3]) pads=[1, 1, 1, 1]",
    ]
    assert report.rewrote == {"p": "w stored", "y": "w2 stored"}
    assert report.initializers == {
        "w": "computed from eps, gain, v", "w2": "computed from scale, u",
    }  # fmt: skip
    seed, made = ({c.name: c.values for c in g.constants()} for g in (before, after))
    assert (made["w2"] == seed["u"] * seed["scale"]).all()
    assert_same_outputs(before, after, tolerance=1e-6)
    assert applied(StoreWeights(), after)[1].rewrote == {}
    assert find_blocks(before).searchable == ()
    assert len(find_blocks(after).searchable) == 1


def test_a_weight_that_two_convolutions_read_stays_one() -> None:
    before = graph("""(float[N,2,4,4] x) => (float[N,2,4,4] y) <float[2,2,1,1] u, float[2,1,1,1] s>
        { w = Mul(u, s) a = Conv(x, w) y = Conv(a, w) }""")
    after, report = applied(StoreWeights(), before)
    assert [c.name for c in after.constants()] == ["w"]
    assert report.rewrote == {"a": "w stored"}
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            """(float[N,2,4,4] x) => (y) <float[2,2,1,1] u>
               { z = RandomNormalLike(u) w = Add(u, z) y = Conv(x, w) }""",
            {"y": "w is drawn at random"},
        ),
        (
            """(float[N,2,4,4] x, float[1] g) => (y) <float[2,2,1,1] u>
               { w = Mul(u, g) y = Conv(x, w) }""",
            {},
        ),
        (
            """(float[N,2,4,4] x) => (y, float[2,2,1,1] w) <float[2,2,1,1] u, float[1] s>
               { w = Mul(u, s) y = Conv(x, w) }""",
            {},
        ),
        (
            """(float[N,2,4,4] x) => (y) <float[1,2,1,1] u, int64[4] to = {536870912, 2, 1, 1}>
               { w = Expand(u, to) y = Conv(x, w) }""",
            {"y": "w would have the shape (536870912, 2, 1, 1)"},
        ),
    ],
)
def test_what_is_not_known_beforehand_stays(body: str, left: dict[str, str]) -> None:
    before = graph(body, check=False)
    after, report = applied(StoreWeights(), before)
    assert report.left == left
    assert not report.rewrote
    assert text(after) == text(before)
