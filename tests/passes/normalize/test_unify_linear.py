from __future__ import annotations

import pytest

from fnac.passes.normalize.unify_linear import UnifyLinear
from tests.support.graphs import applied, assert_same_outputs, graph, text

STORED = """<int64[2] rest = {0, -1}, int64[2] same = {0, 48}, int64[2] first = {-1, 48},
    int64[2] axes = {2, 3}, float[3,5] m, float[5] b, float[1,5] b2, float[1] b1,
    int64[2] o = {-1, 24}>"""


@pytest.mark.parametrize("target", ["rest", "same", "first"])
def test_a_reshape_that_flattens_is_a_flatten(target: str) -> None:
    before = graph(f"(float[N,3,4,4] x) => (float[N,48] y) {STORED} {{ y = Reshape(x, {target}) }}")
    after, report = applied(UnifyLinear(), before)
    assert report.rewrote == {"y": "Reshape -> Flatten"}
    assert text(after) == "y = Flatten(x) axis=1"
    assert_same_outputs(before, after)


def test_a_squeeze_that_flattens_is_a_flatten() -> None:
    before = graph(f"(float[N,3,1,1] x) => (float[N,3] y) {STORED} {{ y = Squeeze(x, axes) }}")
    after, _ = applied(UnifyLinear(), before)
    assert text(after) == "y = Flatten(x) axis=1"
    assert_same_outputs(before, after)


@pytest.mark.parametrize("bias", ["b", "b2"])
def test_matmul_and_add_are_one_gemm(bias: str) -> None:
    before = graph(
        f"(float[N,3] x) => (float[N,5] y) {STORED} {{ h = MatMul(x, m) y = Add({bias}, h) }}"
    )
    after, report = applied(UnifyLinear(), before)
    assert report.rewrote == {"h": "MatMul, Add -> Gemm"}
    assert [n.op for n in after.nodes] == ["Gemm"]
    assert_same_outputs(before, after)
    assert applied(UnifyLinear(), after)[1].rewrote == {}


def test_an_add_of_something_else_stays() -> None:
    before = graph(
        f"""(float[N,3] x, float[N,5] z) => (float[N,5] y, float[N,5] k) {STORED}
            {{ h = MatMul(x, m) y = Add(h, z) g = MatMul(x, m) k = Add(g, b1) }}"""
    )
    after, report = applied(UnifyLinear(), before)
    assert report.rewrote == {"h": "MatMul -> Gemm", "g": "MatMul -> Gemm"}
    assert [n.op for n in after.nodes] == ["Gemm", "Add", "Gemm", "Add"]
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    "body",
    [
        "(float[N,3,4,4] x) => (float[M,24] y) STORED { y = Reshape(x, o) }",
        "(float[N,3,H,W] x) => (float[M,48] y) STORED { y = Reshape(x, first) }",
        "(float[N,2,3] x) => (float[N,2,5] y) STORED { y = MatMul(x, m) }",
        "(float[N,3] x, float[3,5] w) => (float[N,5] y) { y = MatMul(x, w) }",
    ],
)
def test_what_is_not_surely_equal_stays(body: str) -> None:
    before = graph(body.replace("STORED", STORED))
    after, report = applied(UnifyLinear(), before)
    assert report.rewrote == {}
    assert text(after) == text(before)
