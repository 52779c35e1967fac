"""Costs behind arithmetic on sizes that ONNX's inference does not follow."""

from __future__ import annotations

import pytest

from fnac.passes.cost import profile
from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.shapes.sized_shapes import shapes_at
from tests.support.graphs import graph


def padded() -> Graph:
    """TF's padding as timm exports it: ceil(size / 2) in floats; twice, the second on the first."""

    def layer(x: str, n: str, weight: str) -> str:
        return f"""{n}s = Shape({x}) {n}g = Gather({n}s, two) {n}f = Cast<to=1>({n}g)
            {n}h = Div({n}f, half) {n}c = Ceil({n}h) {n}d = Mul({n}c, half) {n}e = Sub({n}d, {n}f)
            {n}i = Cast<to=7>({n}e) {n}u = Unsqueeze({n}i, zero)
            {n}w = Concat<axis=0>(start, {n}u, {n}u) {n}p = Pad({x}, {n}w)
            {n} = Conv<strides=[2,2]>({n}p, {weight})"""

    return graph(
        f"""(float[N,3,H,W] x) => (float[N,4,h,w] b)
        <float[4,3,1,1] v, float[4,4,1,1] z, int64 two, float half, int64[1] zero, int64[6] start>
        {{ {layer("x", "a", "v")} {layer("a", "b", "z")} }}""",
        values={"two": 2, "half": 2.0, "zero": [0], "start": [0] * 6},
    )


@pytest.mark.parametrize(("side", "first", "second"), [(8, 4, 2), (9, 5, 3), (33, 17, 9)])
def test_shapes_are_evaluated_from_one_to_the_next(side: int, first: int, second: int) -> None:
    g = padded()
    before = g.to_model().SerializeToString()
    assert g.infer((side, side), batch=1).shapes["b"] != (1, 4, second, second)
    shapes = shapes_at(g, (side, side))
    assert (shapes["a"], shapes["b"]) == ((1, 4, first, first), (1, 4, second, second))
    counted = {cost.name: cost.madds for cost in profile(g, (side, side)).nodes}
    assert (counted["a"], counted["b"]) == (12 * first**2, 16 * second**2)
    assert g.to_model().SerializeToString() == before


def test_what_depends_on_the_data_stays_unknown() -> None:
    g = graph(
        """(float[1,3,8,8] x) => (float[1,4,h,w] y) <float[4,1,1,1] v, int64[2] axes>
        { n = NonZero(x) s = Cast<to=1>(n) t = Unsqueeze(s, axes) u = Transpose<perm=[1,0,2,3]>(t)
          y = Conv(u, v) }""",
        values={"axes": [0, 3]},
        check=False,
    )
    with pytest.raises(UnsupportedGraphError, match="numbers are needed to count"):
        profile(g)


def test_a_target_of_another_image_size_is_no_cost() -> None:
    """A channel shuffle as exporters write it, for images of 8x8."""
    shuffle = graph("""(float[N,4,8,8] x) => (float[N,4,h,w] y) <int64[5] a = {1, 2, 2, 8, 8},
        int64[4] b = {1, 4, 8, 8}, float[4,4,1,1] v>
        { s = Reshape(x, a) t = Transpose<perm=[0,2,1,3,4]>(s) u = Reshape(t, b)
          y = Conv(u, v) }""")
    assert profile(shuffle, (8, 8)).madds == 16 * 64
    with pytest.raises(
        UnsupportedGraphError, match=r"s \(Reshape\): \(1, 4, 6, 6\) at 6x6 cannot b"
    ):
        profile(shuffle, (6, 6))


@pytest.mark.parametrize(
    ("text", "madds"),
    [
        ("(float[7,5] x) => (y) <float[7,3] w> { y = Gemm<transA=1>(x, w) }", 5 * 7 * 3),
        ("(float[5,4] x, float[4] z) => (y) { y = MatMul(x, z) }", 5 * 4),
        ("(float[5,4,6] x, float[5,6,3] z) => (y) { y = MatMul(x, z) }", 4 * 6 * 3),  # per image
        ("(float[10,6] x, float[6,2] z) => (y) { y = MatMul(x, z) }", 10 * 6 * 2),
    ],
)
def test_a_first_side_that_is_no_batch_stays_as_declared(text: str, madds: int) -> None:
    assert profile(graph(text)).madds == madds
