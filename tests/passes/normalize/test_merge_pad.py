from __future__ import annotations

import pytest

from fnac.passes.normalize.merge_pad import MergePad
from tests.support.graphs import applied, assert_same_outputs, graph, text

STORED = """<float[3,2,3,3] w, int64[8] p = {0, 0, 0, 1, 0, 0, 1, 2}, int64[4] p2 = {0, 1, 1, 2},
    int64[2] axes = {2, -1}, int64[8] c = {0, 1, 0, 0, 0, 0, 0, 0},
    int64[8] crop = {0, 0, -1, 0, 0, 0, 0, 0}, float one = {1.0}, float nought = {0.0}>"""


@pytest.mark.parametrize(
    "nodes",
    [
        "h = Pad(a, p) y = Conv<pads = [0, 1, 0, 1], strides = [2, 2]>(h, w)",
        "h = Pad(a, p2, , axes) y = Conv<strides = [2, 2]>(h, w)",
        "h = Pad(a, p, nought) y = MaxPool<kernel_shape = [3, 3], strides = [2, 2]>(h)",
        "h = Pad(a, p) y = AveragePool<kernel_shape = [3, 3], count_include_pad = 1>(h)",
    ],
)
def test_the_reader_pads_by_itself(nodes: str) -> None:
    before = graph(f"(float[N,2,8,8] x) => (y) {STORED} {{ a = Relu(x) {nodes} }}", opset=18)
    after, report = applied(MergePad(), before)
    assert list(report.rewrote) == ["y"]
    assert after.nodes[0].op == "Relu"
    assert len(after.nodes) == 2
    assert_same_outputs(before, after)
    assert applied(MergePad(), after)[1].rewrote == {}


def test_a_pad_that_is_read_elsewhere_stays_for_the_others() -> None:
    before = graph(
        f"""(float[N,2,8,8] x) => (y, z) {STORED}
            {{ h = Pad(x, p) y = Conv(h, w) z = Relu(h) }}""",
    )
    after, report = applied(MergePad(), before)
    assert report.rewrote == {"y": "pads [0, 1, 1, 2]"}
    assert [n.op for n in after.nodes] == ["Pad", "Conv", "Relu"]
    assert_same_outputs(before, after)


def test_two_pads_in_a_row() -> None:
    before = graph(
        f"(float[N,2,8,8] x) => (y) {STORED} {{ g = Pad(x, p) h = Pad(g, p) y = Conv(h, w) }}",
    )
    after, _ = applied(MergePad(), before)
    assert text(after) == "y = Conv(x, w[3, 2, 3, 3]) pads=[0, 2, 2, 4]"
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            'h = Pad<mode = "reflect">(x, p) y = Conv(h, w)',
            "the Pad before it is of mode reflect",
        ),
        ("h = Pad(x, p, one) y = Conv(h, w)", "the Pad before it pads with 1, not 0"),
        (
            "h = Pad(x, crop) y = Conv(h, w)",
            "the Pad before it crops",
        ),
        (
            "h = Pad(x, c) y = MaxPool<kernel_shape = [2, 2]>(h)",
            "the Pad before it pads the batch or the channels",
        ),
        (
            "h = Pad(x, p) y = MaxPool<kernel_shape = [3, 3]>(h)",
            "it takes the maximum, and the Pad before it pads with 0",
        ),
        (
            "h = Pad(x, p) y = AveragePool<kernel_shape = [3, 3]>(h)",
            "its mean leaves out its own padding, but not the Pad's",
        ),
        (
            'h = Pad(x, p) y = Conv<auto_pad = "SAME_UPPER">(h, w)',
            "its own padding is SAME_UPPER, not explicit",
        ),
        (
            "h = Pad(x, p) y = MaxPool<kernel_shape = [3, 3], ceil_mode = 1>(h)",
            "it rounds its output size up (ceil_mode)",
        ),
        (
            "a = Relu(x) h = Pad(a, p) y = MaxPool<kernel_shape = [2, 2]>(h)",
            "the padding is as wide as its window",
        ),
        (
            "s = Shape(x) k = Concat<axis = 0>(s, s) h = Pad(x, k) y = Conv(h, w)",
            "the Pad before it computes its widths",
        ),
    ],
)
def test_leaves_alone_and_says_why(nodes: str, why: str) -> None:
    before = graph(f"(float[N,2,8,8] x) => (y) {STORED} {{ {nodes} }}")
    after, report = applied(MergePad(), before)
    assert report.left == {"y": why}
    assert text(after) == text(before)
