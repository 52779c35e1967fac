"""What the attributes of a convolution say, with and without defaults."""

from __future__ import annotations

import pytest

from fnac.passes.graph.convolution import Conv, why_padding_not_explicit
from fnac.passes.graph.surgery import averages_image
from tests.support.graphs import graph


def conv(attributes: str, weight: str, channels: int = 4) -> Conv:
    return Conv(
        graph(
            f"(float[1,{channels},9,9] x) => (float[1,c,h,w] y) <float[{weight}] k> "
            f"{{ y = Conv{attributes}(x, k) }}"
        ).nodes[0]
    )


def test_defaults_are_filled_in() -> None:
    look = conv("", "6,4,3,5")
    assert (look.groups, look.rows, look.inputs_a_group, look.channels) == (1, 6, 4, 4)
    assert look.window == (3, 5)
    assert (look.strides, look.dilations, look.pads) == ((1, 1), (1, 1), [0, 0, 0, 0])
    assert not look.keeps_size


@pytest.mark.parametrize(
    ("groups", "weight", "depthwise", "one"),
    [
        (4, "4,1,3,3", True, True),
        (4, "8,1,3,3", False, True),
        (2, "4,2,3,3", False, False),
        (1, "4,4,3,3", False, False),
    ],
)
def test_depthwise(groups: int, weight: str, depthwise: bool, one: bool) -> None:
    look = conv(f"<group = {groups}>", weight)
    assert (look.is_depthwise, look.reads_one_channel) == (depthwise, one)


def test_one_channel_alone_is_not_depthwise() -> None:
    assert not conv("", "1,1,3,3", channels=1).is_depthwise


@pytest.mark.parametrize(
    ("attributes", "keeps"),
    [
        ("<pads = [1, 1, 1, 1]>", True),
        ("<pads = [2, 2, 0, 0]>", True),
        ("<pads = [1, 1, 1, 1], dilations = [2, 1]>", False),
        ("<pads = [2, 1, 2, 1], dilations = [2, 1]>", True),
    ],
)
def test_padding_that_keeps_the_size(attributes: str, keeps: bool) -> None:
    assert conv(attributes, "4,4,3,3").keeps_size == keeps


def test_padding_that_is_only_named() -> None:
    assert why_padding_not_explicit(conv("<pads = [1, 1, 1, 1]>", "4,4,3,3").node) is None
    why = why_padding_not_explicit(conv('<auto_pad = "SAME_UPPER">', "4,4,3,3").node)
    assert why == "its padding is SAME_UPPER, not explicit"


@pytest.mark.parametrize(
    ("opset", "call", "averages"),
    [
        (17, "GlobalAveragePool(x)", True),
        (17, "GlobalMaxPool(x)", False),
        (17, "ReduceMean<axes = [2, 3]>(x)", True),
        (17, "ReduceMean<axes = [-1, -2]>(x)", True),
        (17, "ReduceMean<axes = [1]>(x)", False),
        (17, "ReduceMean(x)", False),
        (17, "ReduceMax<axes = [2, 3]>(x)", False),
        (18, "ReduceMean(x, both)", True),
    ],
)
def test_a_mean_over_the_image(opset: int, call: str, averages: bool) -> None:
    body = f"(float[1,2,4,4] x) => (float[n,c,h,w] y) <int64[2] both = {{2, 3}}> {{ y = {call} }}"
    assert averages_image(graph(body, opset=opset).nodes[0]) == averages
