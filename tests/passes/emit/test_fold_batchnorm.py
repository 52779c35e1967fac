from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.cost import profile
from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from tests.support.graphs import applied, assert_same_outputs, graph, text

# epsilon 0 and variances that are squares: the scale is an exact binary fraction
BN = "y = BatchNormalization<epsilon = 0.0>(h, g, s, m, v)"
STORED = "float[4] g, float[4] s, float[4] m, float[4] v"
VALUES: dict[str, object] = {"v": [1, 4, 16, 64], "g": [2, -4, 8, 16]}


@pytest.mark.parametrize(
    ("inputs", "linear", "weights"),
    [
        ("float[N,2,6,6] x", "Conv<pads = [1, 1, 1, 1]>(x, w)", "float[4,2,3,3] w"),
        ("float[N,2,6,6] x", "Conv(x, w, b)", "float[4,2,1,1] w, float[4] b"),
        ("float[N,4,6,6] x", "Conv<group = 4>(x, w)", "float[4,1,3,3] w"),
        ("float[N,3,4,4] x", "ConvTranspose<strides = [2, 2]>(x, w, b)",
         "float[3,4,2,2] w, float[4] b"),
        ("float[N,6,4,4] x", "ConvTranspose<group = 2>(x, w)", "float[6,2,3,3] w"),
        ("float[N,3] x", "Gemm(x, w, b)", "float[3,4] w, float[4] b"),
        ("float[N,3] x", "Gemm<transB = 1, beta = 2.0>(x, w, b)", "float[4,3] w, float[4] b"),
        ("float[N,3] x", "Gemm<alpha = 2.0>(x, w)", "float[3,4] w"),
    ],
)  # fmt: skip
def test_one_node_computes_both(inputs: str, linear: str, weights: str) -> None:
    before = graph(f"({inputs}) => (y) <{weights}, {STORED}> {{ h = {linear} {BN} }}",
                   values=VALUES)  # fmt: skip
    after, report = applied(FoldBatchNorm(), before)
    op = linear.partition("(")[0].partition("<")[0]
    assert report.rewrote == {"y": f"folded into {op}"}
    assert report.initializers == {
        "w.folded": "copied from w, scaled",
        "h.bias.folded": "fresh, from y",
    }
    assert [n.op for n in after.nodes] == [op]
    assert_same_outputs(before, after)
    assert applied(FoldBatchNorm(), after)[1].rewrote == {}


def test_madds_are_the_same_before_and_after() -> None:
    before = graph(
        f"(float[N,2,6,6] x) => (y) <float[4,2,3,3] w, {STORED}> {{ h = Conv(x, w) {BN} }}",
        values=VALUES,
    )
    after, _ = applied(FoldBatchNorm(), before)
    assert profile(before).madds == profile(after).madds == 4 * 2 * 9 * 16


HEAD = f"<float[4,2,1,1] w, {STORED}>"


@pytest.mark.parametrize(
    ("outputs", "nodes", "why"),
    [
        ("y", "h = Relu(x) " + BN, "Relu is in front of it, not a convolution"),
        ("y", "y = BatchNormalization(x, g, s, m, v)",
         "an input of the network is in front of it, not a convolution"),
        ("y, h", "h = Conv(x, w) " + BN, "the output of h is an output of the network"),
        ("y, z", "h = Conv(x, w) z = Relu(h) " + BN,
         "the output of h is read by other nodes, too"),
        ("y, z", "h = Conv(x, w) z = Conv(x, w) " + BN, "the weight of h is shared with z"),
        ("y", "a = Abs(w) h = Conv(x, a) " + BN, "the weight of h is computed"),
        ("y", "h = Conv(x, w) a = Abs(g) y = BatchNormalization(h, a, s, m, v)",
         "its parameters are computed"),
        ("y", "h = Conv(x, w) y, p, q = BatchNormalization<training_mode = 1>(h, g, s, m, v)",
         "it is in training mode"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(outputs: str, nodes: str, why: str) -> None:
    channels = 4 if "Relu(x)" in nodes or "(x, g" in nodes else 2
    before = graph(
        f"(float[N,{channels},6,6] x) => ({outputs}) {HEAD} {{ {nodes} }}", values={"v": 4}
    )
    after, report = applied(FoldBatchNorm(), before)
    assert report.left == {"y": why}
    assert text(after) == text(before)


def test_a_wrong_scale_would_be_seen() -> None:
    before = graph(
        f"(float[N,2,6,6] x) => (y) <float[4,2,3,3] w, {STORED}> {{ h = Conv(x, w) {BN} }}",
        values=VALUES,
    )
    after, _ = applied(FoldBatchNorm(), before)
    bias = after.nodes[0].inputs[2]
    bias.values = np.roll(bias.values, 1)
    with pytest.raises(AssertionError):
        assert_same_outputs(before, after)
