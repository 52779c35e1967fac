from __future__ import annotations

import pytest

from fnac.passes.normalize.drop_identity import DropIdentity
from fnac.passes.normalize.drop_zero_bias import DropZeroBias
from tests.support.graphs import applied, assert_same_outputs, graph, text


@pytest.mark.parametrize(
    "node",
    [
        "Identity(a)",
        "Dropout(a)",
        "Dropout(a, ratio, off)",
        "Cast<to = 1>(a)",
        "Pad(a, zeros)",
        "Transpose<perm = [0, 1, 2, 3]>(a)",
        "Concat<axis = 1>(a)",
        "Sum(a)",
        "Reshape(a, same)",
        "Slice(a, nought, huge, height)",
        "MaxPool<kernel_shape = [1, 1]>(a)",
        'Resize<mode = "nearest">(a, , scales)',
    ],
)
def test_a_node_that_computes_nothing_goes(node: str) -> None:
    before = graph(
        f"""(float[N,2,4,4] x) => (float[N,2,4,4] y)
        <float ratio = {{0.5}}, bool off = {{0}}, int64[8] zeros = {{0, 0, 0, 0, 0, 0, 0, 0}},
         int64[4] same = {{0, 2, 4, 4}}, int64[1] nought = {{0}}, int64[1] huge = {{99}},
         int64[1] height = {{2}}, float[4] scales = {{1.0, 1.0, 1.0, 1.0}}>
        {{ a = Relu(x) b = {node} y = Neg(b) }}"""
    )
    after, report = applied(DropIdentity(), before)
    assert list(report.rewrote) == ["b"]
    assert text(after) == "a = Relu(x)\ny = Neg(a)"
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    "node",
    [
        "Cast<to = 10>(a)",
        "Pad(a, ones)",
        "Transpose<perm = [0, 1, 3, 2]>(a)",
        "Reshape(a, other)",
        "Slice(a, last, first, height, back)",
        "MaxPool<kernel_shape = [1, 1], strides = [2, 2]>(a)",
    ],
)
def test_a_node_that_computes_something_stays(node: str) -> None:
    before = graph(
        f"""(float[N,2,4,4] x) => (y)
        <int64[8] ones = {{0, 0, 1, 1, 0, 0, 1, 1}}, int64[4] other = {{0, 4, 2, 4}},
         int64[1] last = {{-1}}, int64[1] first = {{-99}}, int64[1] height = {{2}},
         int64[1] back = {{-1}}>
        {{ a = Relu(x) b = {node} y = Neg(b) }}""",
    )
    after, report = applied(DropIdentity(), before)
    assert report.rewrote == {}
    assert text(after) == text(before)


def test_a_network_output_keeps_its_name() -> None:
    before = graph("(float[N,2] x) => (float[N,2] y) { h = Relu(x) y = Identity(h) }")
    after, report = applied(DropIdentity(), before)
    assert report.rewrote == {"y": "identity dropped"}
    assert text(after) == "y = Relu(x)"
    assert_same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "node", "why"),
    [
        (
            "(float[N,2] x) => (float[N,2] y) { y = Identity(x) }",
            "y",
            "it joins an input or a constant to the network's output",
        ),
        (
            "(float[N,2] x) => (float[N,2] h, float[N,2] y) { h = Relu(x) y = Identity(h) }",
            "y",
            "its input and its output are both outputs of the network",
        ),
        (
            """(float[N,2] x) => (float[N,2] y) <float r = {0.5}, bool t = {1}>
               { h = Dropout(x, r, t) y = Relu(h) }""",
            "h",
            "it is in training mode",
        ),
        (
            """(float[N,2] x, bool t) => (float[N,2] y) <float r = {0.5}>
               { h = Dropout(x, r, t) y = Relu(h) }""",
            "h",
            "its training mode is computed",
        ),
        (
            "(float[N,2] x) => (float[N,2] h, bool[N,2] m) { h, k = Dropout(x) m = Not(k) }",
            "h",
            "its mask is read",
        ),
    ],
)
def test_leaves_alone_and_says_why(body: str, node: str, why: str) -> None:
    before = graph(body)
    after, report = applied(DropIdentity(), before)
    assert report.left == {node: why}
    assert text(after) == text(before)


BIASED = """(float[N,2,4,4] x) => (float[N,3,4,4] y)
    <float[3,2,1,1] w, float[3] b, float[3] g, float[3] s, float[3] m, float[3] v>
    { h = Conv(x, w, b) y = BatchNormalization(h, g, s, m, v) }"""


@pytest.mark.parametrize(("bias", "gone"), [(0, True), ([0, 1, 0], False)])
def test_only_a_zero_bias_in_front_of_a_batchnorm_goes(bias: object, gone: bool) -> None:
    before = graph(BIASED, values={"b": bias, "v": [1, 4, 9]})
    after, report = applied(DropZeroBias(), before)
    assert report.rewrote == ({"h": "zero bias dropped"} if gone else {})
    assert len(after.nodes[0].inputs) == (2 if gone else 3)
    assert_same_outputs(before, after)


def test_a_zero_bias_without_batchnorm_is_a_parameter() -> None:
    body = "(float[N,2,4,4] x) => (float[N,3,4,4] y) <float[3,2,1,1] w, float[3] b> {"
    _, report = applied(DropZeroBias(), graph(body + " y = Conv(x, w, b) }", values={"b": 0}))
    assert report.rewrote == {}
