from __future__ import annotations

import pytest

from fnac.passes.cost import profile
from fnac.passes.errors import UnsupportedGraphError
from tests.support.graphs import graph


def test_conv_counts_by_hand_under_both_conventions() -> None:
    g = graph(
        """(float[batch,4,10,12] x) => (float[batch,6,5,6] y)
           <float[4,1,3,3] d, float[6,4,1,1] p, float[6] b>
           { h = Conv<group=4, strides=[2,2], pads=[1,1,1,1]>(x, d) y = Conv(h, p, b) }"""
    )
    exact = profile(g)
    assert [n.madds for n in exact.nodes] == [9 * 4 * 5 * 6, 4 * 6 * 5 * 6]
    assert [n.params for n in exact.nodes] == [36, 24 + 6]
    assert exact.nodes[1].output_shape == (1, 6, 5, 6)
    assert profile(g, convention="paper").madds == exact.madds + 6 * 5 * 6
    assert profile(g, (20, 24)).madds == 4 * exact.madds


def test_a_transposed_conv_is_charged_at_inputs_or_at_outputs() -> None:
    g = graph(
        """(float[1,8,4,4] x) => (float[1,6,8,8] y) <float[8,6,4,4] w>
           { y = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w) }"""
    )
    assert profile(g).madds == 16 * 8 * 6 * 4 * 4
    assert profile(g, convention="paper").madds == 16 * 8 * 6 * 8 * 8


def test_gemm_and_matmul() -> None:
    g = graph(
        """(float[batch,8] x) => (float[batch,3] y) <float[5,8] w, float[5] b, float[5,3] v>
           { h = Gemm<transB=1>(x, w, b) y = MatMul(h, v) }"""
    )
    p = profile(g)
    assert [n.madds for n in p.nodes] == [40, 15]
    assert p.params == 45 + 15


def test_batchnorm_has_gamma_and_beta_as_parameters() -> None:
    g = graph(
        """(float[1,4,2,2] x) => (float[1,4,2,2] y)
           <float[4] g, float[4] b, float[4] m, float[4] v>
           { y = BatchNormalization(x, g, b, m, v) }""",
        values={"v": 1.0},
    )
    assert (profile(g).params, profile(g).madds) == (8, 0)


def test_a_shared_weight_is_one_parameter_and_two_products() -> None:
    g = graph(
        """(float[1,4,2,2] x) => (float[1,4,2,2] y) <float[4,4,1,1] w>
           { h = Conv(x, w) y = Conv(h, w) }"""
    )
    assert (profile(g).params, profile(g).madds) == (16, 2 * 16 * 4)


def test_an_unknown_size_is_asked_for() -> None:
    g = graph(
        """(float[batch,3,h,w] x) => (float[batch,2,oh,ow] y) <float[2,3,1,1] k>
           { y = Conv(x, k) }"""
    )
    with pytest.raises(UnsupportedGraphError, match="give the input size with --size HxW"):
        profile(g)
    assert profile(g, (4, 5)).madds == 3 * 2 * 20


def test_sums_by_operator_add_up() -> None:
    g = graph(
        """(float[1,4,2,2] x) => (float[1,4,2,2] y) <float[4,4,1,1] w>
           { h = Conv(x, w) r = Relu(h) y = Conv(r, w) }"""
    )
    p = profile(g)
    assert p.by("op")["Conv"] == (p.madds, p.params)
    assert list(p.by("op")) == ["Conv", "Relu"]


def test_a_size_that_the_network_does_not_take_is_named() -> None:
    net = graph(
        "(float[N,2,4,4] x) => (float[N,3] y) <float[3,32] w> { f = Flatten(x) "
        "y = Gemm<transB=1>(f, w) }"
    )
    with pytest.raises(UnsupportedGraphError) as told:
        profile(net, (8, 4))
    text = str(told.value)
    assert text.startswith("--size 8x4: the network does not take it, its own is 4x4; ")
    assert "y (Gemm): " in text
    assert profile(net).madds == 96


@pytest.mark.parametrize("target", ["-1,48", "4,24"])
def test_a_batch_that_the_file_insists_on_is_told(target: str) -> None:
    rows = 2 if target == "-1,48" else 4
    whole = graph(
        f"(float[4,3,8,8] x) => (float[{rows},2] y) <float[24,3,1,1] w, int64[2] t = {{{target}}}, "
        f"float[{96 // rows},2] v> {{ c = Conv(x, w) p = GlobalAveragePool(c) f = Reshape(p, t) "
        "y = MatMul(f, v) }"
    )
    counted = profile(whole)
    assert (counted.batch, counted.madds) == (4, 4 * 64 * 72 + 96 * 2)
    assert counted.notes == ["the file computes with batches of 4 alone: counted are all images"]
    assert counted.as_json()["notes"] == counted.notes


def test_what_is_not_counted_is_told_by_the_profile_itself() -> None:
    einsum = graph(
        '(float[1,4] x) => (float[1,4] y) <float[4,4] w> { y = Einsum<equation="ab,bc->ac">(x, w) }'
    )
    note = "products of these nodes are not counted: y (Einsum)"
    assert profile(einsum).notes == [note]
    assert note in repr(profile(einsum))
