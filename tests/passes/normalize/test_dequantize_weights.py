from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.normalize.dequantize_weights import DequantizeWeights
from tests.support.graphs import applied, assert_same_outputs, graph, text

PER_TENSOR = """(float[N,2,4,4] x) => (float[N,3,4,4] y)
    <uint8[3,2,1,1] q, float s = {0.03}, uint8 z = {2}>
    { w = DequantizeLinear(q, s, z) y = Conv(x, w) }"""
PER_CHANNEL = """(float[N,2,4,4] x) => (float[N,3,4,4] y)
    <int8[3,2,1,1] q, float[3] s = {0.03, 0.1, 0.7}, int8[3] z = {2, 0, -1}>
    { w = DequantizeLinear<axis = 0>(q, s, z) y = Conv(x, w) }"""
NO_ZERO = """(float[N,2,4,4] x) => (float[N,3,4,4] y)
    <int8[3,2,1,1] q, float s = {0.03}> { w = DequantizeLinear(q, s) y = Conv(x, w) }"""


@pytest.mark.parametrize("body", [PER_TENSOR, PER_CHANNEL, NO_ZERO])
def test_weights_are_opened_to_the_bit(body: str) -> None:
    before = graph(body, values={"q": np.arange(6).reshape(3, 2, 1, 1)})
    after, report = applied(DequantizeWeights(), before)
    assert text(after) == "y = Conv(x, w[3, 2, 1, 1])"
    assert report.initializers == {"w": "copied from q, dequantized"}
    assert_same_outputs(before, after)
    assert applied(DequantizeWeights(), after)[1].rewrote == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            """(float[N,2] x) => (float[N,2] y) <uint8[1,2] q, float[3] s, uint8[3] z>
               { w = DequantizeLinear<axis = 0>(q, s, z) y = Add(x, w) }""",
            "its scale or zero point does not fit axis 0",
        ),
        (
            """(uint8[N,2] x) => (float[N,2] y) <float s = {0.5}>
               { w = DequantizeLinear(x, s) y = Relu(w) }""",
            "it dequantizes an activation",
        ),
        (
            """(float s) => (float[2] y) <uint8[2] q>
               { w = DequantizeLinear(q, s) y = Relu(w) }""",
            "its scale or zero point is computed",
        ),
        (
            """(float[N,2] x) => (float[2] w, float[N,2] y) <uint8[2] q, float s = {0.5}>
               { w = DequantizeLinear(q, s) y = Add(x, w) }""",
            "it is an output of the network",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, why: str) -> None:
    before = graph(body, check=False)
    after, report = applied(DequantizeWeights(), before)
    assert report.left == {"w": why}
    assert text(after) == text(before)
