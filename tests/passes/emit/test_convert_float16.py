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
    ],
)
def test_leaves_alone_and_says_why(body: str, values: dict[str, object], why: str) -> None:
    before = graph(body, values=values)
    after, report = applied(ConvertFloat16(), before)
    assert report.left == {"graph": why}
    assert text(after) == text(before)
    assert np.dtype(after.outputs[0].dtype) == np.float32
