"""Where the encoder of a network with a head of its own ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.heads.encoder import encoder_ends, has_own_head
from fnac.passes.heads.taps import find_taps
from tests.support.graphs import applied, graph, outputs, renamed

ENCODER = """a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)
    b = Conv<pads=[1,1,1,1], strides=[2,2]>(a, v)
    c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, v) d = Conv<pads=[1,1,1,1], strides=[2,2]>(c, v)"""
WEIGHTS = "<float[4,3,3,3] w, float[4,4,3,3] v, float[4,4,1,1] u, float[4] s = {1, 1, 2, 2}>"
HEAD = "(float[1,3,32,32] x) => (y) " + WEIGHTS
NETWORKS = {
    "pyramid pooling": HEAD + "{" + ENCODER + """
        e = Relu(d) g = GlobalAveragePool(e) h = Conv(g, u) i = Conv(e, u)
        k = Shape<start = 2>(i) l = Shape<end = 2>(h) m = Concat<axis = 0>(l, k)
        n = Resize<mode = "linear">(h, , , m) o = Concat<axis = 1>(i, n) y = Relu(o) }""",
    "decoder with skips": HEAD + "{" + ENCODER + """
        e = Relu(d) f = Resize<mode = "nearest">(e, , s) g = Add(f, c)
        h = Resize<mode = "nearest">(g, , s) i = Add(h, b) y = Conv(i, u) }""",
    "squeeze-excitation": HEAD + "{" + ENCODER + """
        p = GlobalAveragePool(d) q = Conv(p, u) r = Sigmoid(q) e = Mul(d, r)
        f = Resize<mode = "nearest">(e, , s) y = Add(f, c) }""",
    "a detector of several strides": HEAD.replace("(y)", "(y, z)") + "{" + ENCODER + """
        e = Relu(d) f = Conv<pads=[1,1,1,1], strides=[2,2]>(e, v)
        g = Conv<pads=[1,1,1,1], strides=[2,2]>(f, v) y = Conv(c, u) j = Conv(e, u) k = Conv(g, u)
        l = Flatten(j) m = Flatten(k) z = Concat<axis = 1>(l, m) }""",
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_is_left_whatever_the_names(name: str) -> None:
    before = graph(NETWORKS[name])
    assert has_own_head(before)
    if name == "a detector of several strides":  # the last of stride 32, not of stride 64
        assert find_taps(before, ("last",))["last"].name == "f"
        return
    assert find_taps(before, ("c4", "last"))["c4"].name == "e"
    after, report = applied(CutClassifier(), before)
    assert [t.name for t in after.outputs] == ["features"]
    assert report.rewrote["y"] == "cut off"
    other, _ = applied(CutClassifier(), renamed(before))
    assert [node.op for node in other.nodes] == [node.op for node in after.nodes]
    assert outputs(after)["features"].shape == (1, 4, 2, 2)


def test_classifiers_and_backbones_have_no_head_of_their_own() -> None:
    backbone = graph(HEAD.replace("(y)", "(c, d)") + "{" + ENCODER + "}")
    assert not has_own_head(backbone)
    fused = graph(
        HEAD
        + "{"
        + ENCODER
        + """ f = Resize<mode = "nearest">(d, , s) g = Add(f, c)
        h = GlobalAveragePool(g) y = Flatten(h) }"""
    )
    assert not has_own_head(fused)


def test_an_encoder_that_ends_early_is_refused() -> None:
    early = graph(
        HEAD
        + """{ a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)
        f = Resize<mode = "nearest">(a, , s) y = Conv(f, u) }"""
    )
    with pytest.raises(UnsupportedGraphError, match="features of stride 2 are enlarged"):
        encoder_ends(early)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("weights_imagenet/deeplabv3_mnv2_pascal_qdq.onnx", 320),
        ("wild/nanodet_m.onnx", 96),  # what its neck makes of 512 for the deepest level
        ("wild/ultraface_rfb320.onnx", 256),
    ],
)
def test_encoders_of_found_networks(shared_data: Path, name: str, channels: int) -> None:
    g = Graph.load(shared_data / name)
    shapes = g.infer().shapes
    assert shapes[find_taps(g, ("last",))["last"].name][1] == channels
