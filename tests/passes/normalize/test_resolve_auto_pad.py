from __future__ import annotations

import pytest

from fnac.passes.manager import PassManager
from fnac.passes.normalize.resolve_auto_pad import ResolveAutoPad, same_padding
from tests.support.graphs import applied, assert_same_outputs, graph, text


@pytest.mark.parametrize(
    ("node", "side", "pads"),
    [
        ('Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)', 8, [0, 0, 1, 1]),
        ('Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(x, w)', 8, [1, 1, 0, 0]),
        ('Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)', 9, [1, 1, 1, 1]),
        ('Conv<auto_pad = "SAME_UPPER", strides = [3, 2]>(x, w)', 7, [1, 1, 1, 1]),
        ('Conv<auto_pad = "SAME_UPPER">(x, w)', 8, [1, 1, 1, 1]),
        ('Conv<auto_pad = "VALID">(x, w)', 8, [0, 0, 0, 0]),
        (
            'MaxPool<auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]>(x)',
            7,
            [0, 0, 1, 1],
        ),
        (
            'AveragePool<auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [2, 2]>(x)',
            8,
            [0, 0, 1, 1],
        ),
    ],
)
def test_pads_hold_what_auto_pad_named(node: str, side: int, pads: list[int]) -> None:
    before = graph(f"(float[N,2,{side},{side}] x) => (y) <float[3,2,3,3] w> {{ y = {node} }}")
    after, report = applied(ResolveAutoPad(), before)
    assert list(report.rewrote) == ["y"]
    assert after.nodes[0].attrs["pads"] == pads
    assert "auto_pad" not in after.nodes[0].attrs
    assert_same_outputs(before, after)


def test_a_dilated_kernel_pads_by_its_reach() -> None:
    before = graph(
        """(float[N,2,H,W] x) => (y) <float[3,2,3,3] w>
           { y = Conv<auto_pad = "SAME_UPPER", dilations = [2, 2]>(x, w) }""",
    )
    after, _ = applied(ResolveAutoPad(), before)
    assert after.nodes[0].attrs["pads"] == [2, 2, 2, 2]
    # onnxruntime refuses SAME with dilation, so the size is what can be compared
    assert after.infer((8, 8), 1).shapes["y"] == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (
            'Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)',
            "its padding depends on the image size, and SAME_UPPER at stride 2 needs that as a "
            "number; give the input a fixed size",
        ),
        (
            'ConvTranspose<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, t)',
            "auto_pad of ConvTranspose is not supported",
        ),
    ],
)
def test_leaves_alone_and_says_why(node: str, why: str) -> None:
    before = graph(
        f"(float[N,2,H,W] x) => (y) <float[3,2,3,3] w, float[2,3,3,3] t> {{ y = {node} }}",
    )
    after, report = applied(ResolveAutoPad(), before)
    assert report.left == {"y": why}
    assert text(after) == text(before)


def test_same_padding_of_one_side() -> None:
    assert [same_padding(n, 3, 2) for n in (7, 8, 9)] == [2, 1, 2]
    assert same_padding(8, 1, 2) == 0


def test_it_is_proven_at_the_size_that_the_padding_is_for() -> None:
    """At 130 pixels the second convolution pads by one on both sides, at 96 only at the end."""
    before = graph(
        """(float[N,2,130,130] x) => (y) <float[2,2,3,3] w>
           { a = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)
             y = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(a, w) }"""
    )
    after = before.copy()
    PassManager().run([ResolveAutoPad()], after)
    assert [n.attrs["pads"] for n in after.nodes] == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert_same_outputs(before, after)
