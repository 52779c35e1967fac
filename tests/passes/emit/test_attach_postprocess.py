from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from fnac.passes.emit.attach_postprocess import AttachPostprocess
from fnac.passes.errors import PipelineError
from fnac.passes.registry import parse_pipeline
from tests.support.graphs import applied, feeds, graph, outputs, text

SAME = "(float[N,2,8,8] x) => (float[N,3,8,8] y) <float[3,2,1,1] w> { y = Conv(x, w) }"
SMALL = "(float[N,2,H,W] x) => (y) <float[3,2,2,2] w> { y = Conv<strides = [2, 2]>(x, w) }"


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_labels_of_logits_that_have_the_size(dtype: str) -> None:
    before = graph(SAME)
    after, report = applied(AttachPostprocess(dtype=dtype), before)
    assert list(report.rewrote.values()) == ["labels from logits"]
    assert [n.op for n in after.nodes] == ["Conv", "ArgMax"] + ["Cast"] * (dtype == "uint8")
    assert [(t.name, list(t.shape)) for t in after.outputs] == [("labels", ["N", 8, 8])]
    wanted = outputs(before)["y"].argmax(1).astype(dtype)
    np.testing.assert_array_equal(outputs(after)["labels"], wanted, strict=True)
    assert after.manifest["postprocess"] == "argmax"
    assert applied(AttachPostprocess(dtype=dtype), after)[1].rewrote == {}


@pytest.mark.parametrize("side", [8, 10, 13])
def test_smaller_logits_are_resized_to_whatever_the_image_is(side: int) -> None:
    after, report = applied(AttachPostprocess(), graph(SMALL))
    assert list(report.rewrote.values()) == ["resize to the image", "labels from logits"]
    feed = feeds(after, size=side)
    labels = outputs(after, feed)["labels"]
    assert labels.shape == (2, side, side)
    logits = outputs(graph(SMALL), feed)["y"]
    resize = graph("(float[N,C,h,w] y, int64[4] s) => (z) "
                   '{ z = Resize<mode = "linear">(y, , , s) }')  # fmt: skip
    session = ort.InferenceSession(resize.to_model().SerializeToString())
    big = session.run(None, {"y": logits, "s": np.array([2, 3, side, side])})[0]
    np.testing.assert_array_equal(labels, big.argmax(1))


@pytest.mark.parametrize(
    ("body", "opset", "why"),
    [
        ("(float[N,2] x) => (float[N,2] y) { y = Relu(x) }", 17,
         "no input is an image (N, C, H, W)"),
        ("(float[N,2,4,4] x) => (float[N,32] y) { y = Flatten(x) }", 17,
         "no output holds logits (N, C, H, W); found y ['N', 32]"),
        ("(float[N,2,4,4] x) => (float[N,2,4,4] y) { y = Relu(x) }", 11,
         "operator set 11 is below 13; raise-opset first"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(body: str, opset: int, why: str) -> None:
    before = graph(body, opset=opset)
    after, report = applied(AttachPostprocess(), before)
    assert report.left == {"graph": why}
    assert text(after) == text(before)
    assert "postprocess" not in after.manifest


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PipelineError, match="kind=softmax; known: argmax"):
        parse_pipeline("attach-postprocess{kind=softmax}")
