"""Output stride, cutting the classifier, attaching a head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fnac.passes.base import Report
from fnac.passes.blocks.find import find_blocks
from fnac.passes.errors import ArgumentError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.heads.attach_head import AttachHead
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.heads.set_output_stride import SetOutputStride
from tests.support.graphs import applied, graph, outputs, renamed, text
from tests.support.mbconv_networks import mbconv_network, same_graph

# ------------------------------------------------------------------ set-output-stride


def windows(g: Graph) -> dict[str, tuple[int, int, list[int]]]:
    """Stride, dilation and pads of every depthwise convolution."""
    return {
        n.name: (n.attrs["strides"][0], n.attrs.get("dilations", [1])[0], n.attrs["pads"])
        for n in g.nodes
        if n.op == "Conv" and n.attrs.get("group", 1) > 1
    }


THREE = ((6, 2, 2), (8, 2, 2), (8, 1, 1))


@pytest.mark.parametrize("same", [False, True])
def test_dilates_the_whole_stage_its_first_block_included(same: bool) -> None:
    before = mbconv_network(THREE, classifier=False, same=same)  # strides 2, 4, 8
    after, report = applied(SetOutputStride(stride=4), before)
    assert windows(after) == {
        "b0_dw": (1, 1, [1, 1, 1, 1]),
        "b1_dw": (2, 1, [0, 0, 1, 1] if same else [1, 1, 1, 1]),
        "b2_dw": (1, 1, [1, 1, 1, 1]),
        "b3_dw": (1, 2, [2, 2, 2, 2]),
        "b4_dw": (1, 2, [2, 2, 2, 2]),
        "b5_dw": (1, 2, [2, 2, 2, 2]),
    }
    assert report.rewrote == {
        "b3_dw": "stride 2 -> 1, dilation 1 -> 2",
        "b4_dw": "dilation 1 -> 2",
        "b5_dw": "dilation 1 -> 2",
    }
    assert [s.output_stride for s in find_blocks(after).stages] == [2, 4, 4]
    assert next(iter(outputs(after).values())).shape[2:] == (4, 4)


def test_two_strides_given_up_multiply() -> None:
    after, _ = applied(SetOutputStride(stride=2), mbconv_network(THREE, classifier=False))
    assert [d for _, d, _ in windows(after).values()] == [1, 2, 2, 4, 4, 4]


def test_a_dilated_window_sees_what_it_saw() -> None:
    """Where the given-up stride would have looked, the features are the strided network's.

    Of the convolution that gave the stride up this holds for its centre tap: its own window is
    dilated as well.
    """
    before = graph(
        """(float[1,2,9,9] x) => (float[1,2,5,5] y) <float[2,1,3,3] w, float[2,1,3,3] v>
        { h = Conv<group=2, pads=[1,1,1,1], strides=[2,2]>(x, w)
          y = Conv<group=2, pads=[1,1,1,1]>(h, v) }""",
        values={"w": [[0, 0, 0], [0, 2, 0], [0, 0, 0]]},
    )
    after, _ = applied(SetOutputStride(stride=1), before)
    small, large = outputs(before)["y"], outputs(after)["y"]
    np.testing.assert_array_equal(large[:, :, ::2, ::2], small)


POOLED = """(float[1,2,8,8] x) => (float[1,2,2,2] y) <float[2,2,2,2] k, float[2,2,1,1] one>
    {{ {} y = Conv(q, one) }}"""
EVEN = {
    "average": "p = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x) "
    "q = AveragePool<kernel_shape=[2,2], strides=[2,2]>(p)",
    "max": "p = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x) "
    "q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(p)",
    "max behind another": "p = Conv<strides=[2,2]>(x, k) "
    "q = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(p)",
    "convolution": "p = Conv<strides=[2,2]>(x, k) q = Conv<strides=[2,2]>(p, k)",
}


@pytest.mark.parametrize("kind", EVEN)
def test_poolings_and_even_windows_see_what_they_saw(kind: str) -> None:
    before = graph(POOLED.format(EVEN[kind]), opset=19)
    stride = 2 if kind in ("average", "max") else 1
    after, report = applied(SetOutputStride(stride=stride), before)
    assert report.rewrote == (
        {"p": "stride 2 -> 1", "q": "stride 2 -> 1, dilation 1 -> 2"} if stride == 1
        else {"q": "stride 2 -> 1"}
    )  # fmt: skip
    small, large = outputs(before)["y"], outputs(after)["y"]
    assert large.shape[2:] == (8 // stride, 8 // stride)
    step = 4 // stride
    np.testing.assert_array_equal(large[:, :, ::step, ::step], small)


def test_a_large_enough_network_is_left_as_it_is() -> None:
    before = mbconv_network(THREE)
    after, report = applied(SetOutputStride(stride=8), before)
    assert report == Report()
    assert same_graph(after, before)
    once, _ = applied(SetOutputStride(stride=4), before)
    _, again = applied(SetOutputStride(stride=4), once)
    assert again.rewrote == {}


def test_what_cannot_be_dilated() -> None:
    with pytest.raises(ArgumentError, match="output stride 12: wanted a power of two"):
        SetOutputStride(stride=12)
    for opset, why in ((18, "operator set 18 has no dilated"), (19, "onnxruntime pads no further")):
        pool = graph(POOLED.format(EVEN["average"]), opset=opset)
        with pytest.raises(UnsupportedGraphError, match=rf"q \(AveragePool\): {why}"):
            applied(SetOutputStride(stride=1), pool)
    valid = graph("""(float[1,2,9,9] x) => (float[1,2,4,4] y) <float[2,2,3,3] w>
        { y = Conv<strides=[2,2]>(x, w) }""")
    with pytest.raises(UnsupportedGraphError, match="does not keep the size of a 3x3 window"):
        applied(SetOutputStride(stride=1), valid)


# ------------------------------------------------------------------ cut-classifier


@pytest.mark.parametrize("bn", [True, False])
def test_cuts_behind_the_last_block(bn: bool) -> None:
    before = renamed(mbconv_network(bn=bn, bias=not bn))
    after, report = applied(CutClassifier(), before)
    assert [t.name for t in after.outputs] == ["features"]
    assert len(report.rewrote) == len(before.nodes) - len(after.nodes) == (6 if bn else 5)
    feed = {before.inputs[0].name: np.ones((2, 3, 16, 16), "f4")}
    assert outputs(after, feed)["features"].shape == (2, 8, 4, 4)
    tap = find_blocks(before).blocks[-1].output
    before.gs.outputs.append(tap)
    tap.dtype, tap.shape = np.dtype("f4"), ["N", 8, "h", "w"]
    np.testing.assert_array_equal(outputs(before, feed)[tap.name], outputs(after, feed)["features"])


def test_a_backbone_is_left_as_it_is() -> None:
    before = mbconv_network(classifier=False)
    after, report = applied(CutClassifier(), before)
    assert report == Report({}, {"b3_pw_bn": "it ends the network already"})
    assert same_graph(after, before)
    once, _ = applied(CutClassifier(), mbconv_network())
    _, again = applied(CutClassifier(), once)
    assert again.rewrote == {}


def test_without_blocks_the_pool_says_where() -> None:
    before = mbconv_network(stages=())
    for node in before.nodes:
        if node.name == "b0_dw":
            node.attrs["auto_pad"] = "SAME_UPPER"  # no block can be found any more
            del node.attrs["pads"]
    after, report = applied(CutClassifier(), before)
    assert list(report.rewrote) == ["last", "last_bn", "last_act", "pool", "flat", "logits"]
    assert after.outputs[0].inputs[0].name == "b0_pw_bn"
    with_last, report = applied(CutClassifier(taps=("last",)), before)
    assert list(report.rewrote) == ["pool", "flat", "logits"]
    assert with_last.outputs[0].inputs[0].name == "last_act"


TAIL = """(float[1,2,8,8] x) => (float[1,c,h,w] y)
    <float[4,2,1,1] a, float[4,1,3,3] b, float[2,4,1,1] c, float[2,2,2,2] t, float[2,2,3,3] k,
    float[2,2,1,1] l>
    {{ d = Conv(x, a) e = Relu(d) f = Conv<group=4, pads=[1,1,1,1]>(e, b) h = Conv(f, c) {} }}"""


@pytest.mark.parametrize(
    ("tail", "features"),
    [
        ("u = Conv(h, a) y = Relu(u)", "h"),  # a widening convolution, not pooled any more
        ("u = Conv<pads=[1,1,1,1]>(h, k) y = GlobalAveragePool(u)", "u"),
        ("u = Conv(h, a) v = Relu(u) y = GlobalMaxPool(v)", "h"),
        (
            "u = Conv(h, l) v = Relu(u) w = GlobalMaxPool(v) y = Conv(w, l)",
            "v",
        ),  # as wide as before
        ("u = Conv(h, l) v = Relu(u) w = GlobalMaxPool(v) y = Softmax(w)", "h"),  # the classifier
        ("v = Relu(h) w = GlobalAveragePool(v) y = Conv(w, l)", "v"),
        ("v = Relu(h) w = GlobalAveragePool(v) q = Erf(w) s = Conv(q, l) y = Tanh(s)", "v"),
    ],
)
def test_where_the_features_end(tail: str, features: str) -> None:
    after, _ = applied(CutClassifier(), graph(TAIL.format(tail)))
    assert after.outputs[0].inputs[0].name == features


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (
            "u = ConvTranspose<strides=[2,2]>(h, t) y = Relu(u)",
            "features of stride 1 are enlarged, or meet those of another stride",
        ),
    ],
)
def test_no_classifier_no_cut(tail: str, why: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=why):
        applied(CutClassifier(), graph(TAIL.format(tail), check=False))


def test_features_that_a_classifier_shows_go_with_it() -> None:
    g = mbconv_network()
    g.gs.outputs.append(g.nodes[0].outputs[0])
    after, _ = applied(CutClassifier(), g)
    assert [t.name for t in after.outputs] == ["features"]


def test_no_features_no_cut() -> None:
    plain = graph("(float[1,2] x) => (float[1,2] y) { y = Relu(x) }")
    with pytest.raises(UnsupportedGraphError, match=r"neither features .* nor a global pooling"):
        applied(CutClassifier(), plain)


# ------------------------------------------------------------------ attach-head

HEAD = """(float[N,8,h,w] features, float[N,3,H,W] image) => (float[N,5,h,w] logits)
    <float[5,8,1,1] weight, float[1,5,1,1] stem>
    { m = GlobalAveragePool(image) s = ReduceSum(m) z = Conv(features, weight) q = Add(z, stem)
      logits = Add(q, s) }"""


def backbone() -> Graph:
    return applied(CutClassifier(), mbconv_network())[0]


def test_joins_the_head_to_features_and_image() -> None:
    before, head = backbone(), graph(HEAD)
    after, report = applied(AttachHead(model=head.to_model()), before)
    assert [t.name for t in after.outputs] == ["logits"]
    assert list(report.rewrote) == ["m", "s", "z", "q", "logits"]
    assert set(report.initializers.values()) == {"fresh: the head's"}
    parts = [n.name for n in after.nodes if n.metadata.get("fnac.part") == "head"]
    assert parts == ["m", "s", "z", "q", "logits"]
    assert text(after).splitlines()[-5:] == [
        "m.2 = GlobalAveragePool(x)",
        "s.2 = ReduceSum(m.2)",
        "z.2 = Conv(features, weight[5, 8, 1, 1])",
        "q.2 = Add(z.2, stem.2[1, 5, 1, 1])",
        "logits = Add(q.2, s.2)",
    ]
    x = np.random.default_rng(0).integers(-3, 4, (2, 3, 16, 16)).astype("f4")
    features = outputs(before, {"x": x})["features"]
    expected = outputs(head, {"features": features, "image": x})["logits"]
    np.testing.assert_array_equal(outputs(after, {"x": x})["logits"], expected)


def test_a_taken_output_name_goes_to_the_head() -> None:
    g = backbone()
    g.nodes[0].outputs[0].name = "logits"
    after, _ = applied(AttachHead(model=graph(HEAD).to_model()), g)
    assert [t.name for t in after.outputs] == ["logits"]
    assert after.nodes[0].outputs[0].name == "logits.backbone"
    assert outputs(after)["logits"].shape == (2, 5, 4, 4)


def test_the_lower_operator_set_is_raised() -> None:
    after, _ = applied(AttachHead(model=graph(HEAD, opset=20).to_model()), backbone())
    assert after.opset == 20
    assert outputs(after)["logits"].shape == (2, 5, 4, 4)
    after, _ = applied(AttachHead(model=graph(HEAD, opset=17).to_model()), backbone())
    assert after.opset == 18


def test_attaches_from_a_file_once(tmp_path: Path) -> None:
    path = graph(HEAD).save(tmp_path / "head.onnx")
    once, _ = applied(AttachHead(path=str(path)), backbone())
    twice, again = applied(AttachHead(path=str(path)), once)
    assert again == Report({}, {"m": "the network has a head already"})
    assert same_graph(once, twice)


def test_heads_that_do_not_fit() -> None:
    with pytest.raises(UnsupportedGraphError, match="wanted one head, as path=FILE"):
        applied(AttachHead(), backbone())
    wrong = graph("""(float[N,7,h,w] features) => (float[N,7,h,w] y) { y = Relu(features) }""")
    with pytest.raises(UnsupportedGraphError, match="reads 7 channels, the backbone leaves 8"):
        applied(AttachHead(model=wrong.to_model()), backbone())
    flat = graph("""(float[N,8] pooled) => (float[N,8] y) { y = Relu(pooled) }""")
    with pytest.raises(UnsupportedGraphError, match="of 2 dimensions, the backbone leaves 4"):
        applied(AttachHead(model=flat.to_model()), backbone())
    image = graph("""(float[N,3,h,w] image) => (float[N,3,h,w] y) { y = Relu(image) }""")
    with pytest.raises(UnsupportedGraphError, match="the head has no input for features"):
        applied(AttachHead(model=image.to_model()), backbone())
    two = graph(
        """(float[N,8,h,w] features, float[N,8,h,w] c4) => (float[N,8,h,w] y)
        { y = Add(features, c4) }"""
    )
    with pytest.raises(
        UnsupportedGraphError,
        match=r"reads 'c4'; the backbone leaves features; .*cut-classifier\{taps=features\+c4\}",
    ):
        applied(AttachHead(model=two.to_model()), backbone())
