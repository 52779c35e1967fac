from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.emit.convert_float16 import ConvertFloat16
from tests.support.graphs import applied, assert_same_outputs, graph, text


def test_computes_in_half_and_is_called_with_float() -> None:
    # integers below 2048 are exact in float16, too
    before = graph(
        """(float[N,2,4,4] x) => (float[N,3,8,8] y, float[N,3,4,4] r)
           <float[3,2,1,1] w, float[3] b, float[4] s = {1.0, 1.0, 2.0, 2.0}, float six = {6.0}>
           { h = Conv(x, w, b) r = Clip(h, , six) y = Resize<mode = "nearest">(r, , s) }"""
    )
    after, report = applied(ConvertFloat16(), before)
    assert list(report.rewrote.values()) == ["cast"] * 3
    floats = {c.name: str(c.dtype) for c in after.constants()}
    assert floats == {
        "w.fp16": "float16",
        "b.fp16": "float16",
        "six.fp16": "float16",
        "s": "float32",
    }
    assert_same_outputs(before, after)
    assert applied(ConvertFloat16(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    ("body", "values", "why"),
    [
        ("(float[N,2] x) => (float[N,2] y) { y = Relu(x) }", {}, "it holds no float32 weights"),
        (
            "(float[N,2] x) => (float[N,2] y) <float[2] w> { y = Mul(x, w) }",
            {"w": [1, 1e6]},
            "w holds 1e+06, float16 ends at 65504",
        ),
        (
            """(float[N,2] x) => (float[N,2] y) <float[2] w, float s = {0.5}, uint8 z = {0}>
               { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Mul(d, w) }""",
            {},
            "QuantizeLinear q cannot be converted",
        ),
        (  # what keeps a division from zero
            """(float[N,2] x) => (float[N,2] y) <float[2] w, float e = {1e-12}>
               { s = Mul(x, w) m = Max(s, e) y = Div(x, m) }""",
            {"w": [1, 1]},
            "Max m computes with 1e-12; float16 goes from 6e-08 to 65504",
        ),
        (
            """(float[N,2] x) => (float[N,2] y) <float[2] w, float e = {1e-12}>
               { s = Mul(x, w) m = Clip(s, e) y = Div(x, m) }""",
            {"w": [1, 1]},
            "Clip m computes with 1e-12; float16 goes from 6e-08 to 65504",
        ),
        (
            "(float[N,2] x) => (float[N,2] y) <float[2] w> { y = Mul(x, w) }",
            {"w": [1e-9, 2e-9]},
            "w holds numbers of 2e-09 at most, of which float16 loses 100%",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, values: dict[str, object], why: str) -> None:
    before = graph(body, values=values)
    after, report = applied(ConvertFloat16(), before)
    assert report.left == {"graph": why}
    assert text(after) == text(before)
    assert np.dtype(after.outputs[0].dtype) == np.float32


@pytest.mark.parametrize(
    "drawn",
    [
        "EyeLike<dtype=1>(x)",
        "RandomUniformLike<dtype=1, seed=1.0, low=3.0, high=3.0>(x)",
        "RandomUniform<shape=[4,4], seed=1.0, low=3.0, high=3.0>()",
    ],
)
def test_nodes_that_state_float32_keep_it_and_are_cast(drawn: str) -> None:
    """By an attribute, or by leaving it out; what they compute is read and handed out."""
    before = graph(
        f"""(float[4,4] x) => (float[4,4] y, float[4,4] e) <float[4,4] w>
           {{ e = {drawn} a = Add(x, e) y = MatMul(a, w) }}"""
    )
    after, report = applied(ConvertFloat16(), before)
    assert report.rewrote["e.to_fp16"] == "cast"
    assert {str(t.dtype) for t in after.outputs} == {"float32"}
    assert_same_outputs(before, after)


def test_a_float32_output_that_no_node_reads_is_left_alone() -> None:
    before = graph(
        """(float[4,4] x) => (float[4,4] y, float[4,4] e) <float[4,4] w>
           { e = EyeLike<dtype=1>(x) y = MatMul(x, w) }"""
    )
    after, report = applied(ConvertFloat16(), before)
    assert set(report.rewrote) == {"x.to_fp16", "y.to_fp32"}
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    "body",
    [
        "y = Gemm<transB=1>(x, w, b)",
        "h = MatMul(x, w) y = Add(h, b)",
        "y = LayerNormalization<epsilon=1e-12>(x, s, b)",
    ],
)
def test_small_summands_and_epsilons_are_no_loss(body: str) -> None:
    before = graph(
        f"(float[N,2] x) => (float[N,2] y) <float[2,2] w, float[2] b, float[2] s> {{ {body} }}",
        values={"w": [[1, 2], [3, 4]], "b": [1e-9, -2e-9], "s": [1, 2]},
    )
    assert applied(ConvertFloat16(), before)[1].left == {}
