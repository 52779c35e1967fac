"""Channels-last images, as tf2onnx's files want them."""

from __future__ import annotations

import pytest

from fnac.passes.manager import PassManager
from fnac.passes.prepare.make_channels_first import MakeChannelsFirst
from tests.support.graphs import graph, text

BODY = """(float[N,8,6,3] x) => (float[N,4,8,6] y) <float[4,3,1,1] w, float[4,3,3,3] v>
{ t = Transpose<perm=[0,3,1,2]>(x)
  u = Transpose<perm=[0,3,1,2]>(x)
  a = Conv(t, w)
  b = Conv<pads=[1,1,1,1]>(u, v)
  y = Add(a, b) }"""


def test_the_transposes_go_and_the_result_is_proven() -> None:
    made = graph(BODY)
    manager = PassManager()
    manager.run([MakeChannelsFirst()], made)
    assert manager.ledger[0].report.rewrote == {"x": "NHWC -> NCHW"}
    assert manager.ledger[0].verdict == "equal"
    assert made.inputs[0].shape == ["N", 3, 8, 6]
    assert text(made) == (
        "a = Conv(x, w[4, 3, 1, 1])\nb = Conv(x, v[4, 3, 3, 3]) pads=[1, 1, 1, 1]\ny = Add(a, b)"
    )
    assert MakeChannelsFirst().run(made).rewrote == {}


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            """(float[1,8,6,3] x) => (float[1,8,6,3] z, float[1,3,8,6] y)
            { t = Transpose<perm=[0,3,1,2]>(x) y = Relu(t) z = Relu(x) }""",
            {},
        ),
        (
            """(float[1,8,6,3] x) => (float[1,6,8,3] y)
            { t = Transpose<perm=[0,2,1,3]>(x) y = Relu(t) }""",
            {},
        ),
        (
            "(float[1,8,6,3] x) => (float[1,3,8,6] y) { y = Transpose<perm=[0,3,1,2]>(x) }",
            {"x": "the turned image is an output of the network"},
        ),
    ],
)
def test_other_inputs_stay(body: str, left: dict[str, str]) -> None:
    made = graph(body)
    before = text(made)
    report = MakeChannelsFirst().run(made)
    assert (report.rewrote, report.left) == ({}, left)
    assert text(made) == before
