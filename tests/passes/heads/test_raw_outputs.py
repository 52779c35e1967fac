"""What a network says before it selects, and what the numbers mean."""

from __future__ import annotations

import pytest

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.heads.raw_outputs import RawOutput, raw_outputs, with_raw_outputs
from tests.support.graphs import graph


def test_an_arg_max_is_taken_off_and_says_what_it_read() -> None:
    g = graph(
        "(float[N,3,4,4] x) => (int64[N,4,4] y) <float[5,3,1,1] w> "
        "{ a = Conv(x, w) y = ArgMax<axis=1, keepdims=0>(a) }"
    )
    assert raw_outputs(g) == (RawOutput("a", "logits", 1),)
    ended, _ = with_raw_outputs(g)
    assert [node.op for node in ended.nodes] == ["Conv"]
    assert [node.op for node in g.nodes] == ["Conv", "ArgMax"]


def test_a_detector_ends_in_front_of_its_suppression() -> None:
    """Scores and boxes are raw, each once; what is gathered by the answers is behind it."""
    g = graph(
        "(float[1,3,4,4] x) => (float[K,4] found) <float[8,3,1,1] w, float[4,3,1,1] v, "
        "int64[3] to_scores = {1, 2, 64}, int64[3] to_boxes = {1, -1, 4}, "
        "int64[1] most = {10}, int64[2] axes = {1, 2}, int64[1] last = {2}> "
        "{ a = Conv(x, w) p = Sigmoid(a) scores = Reshape(p, to_scores) "
        "b = Conv(x, v) boxes = Reshape(b, to_boxes) "
        "chosen = NonMaxSuppression(boxes, scores, most) "
        "row = Gather<axis=1>(chosen, last) flat = Squeeze(boxes) found = GatherND(flat, row) }",
        check=False,
    )
    assert raw_outputs(g) == (
        RawOutput("scores", "binary probabilities"),
        RawOutput("boxes", "values"),
    )


def test_outputs_without_a_selection_are_raw_themselves() -> None:
    g = graph(
        "(float[N,3,4,4] x) => (float[N,5,4,4] p, float[N,5,4,4] a) <float[5,3,1,1] w> "
        "{ a = Conv(x, w) p = Softmax<axis=1>(a) }"
    )
    assert raw_outputs(g) == (RawOutput("a", "values"), RawOutput("p", "probabilities", 1))


def test_probabilities_that_were_moved_keep_their_meaning_not_their_axis() -> None:
    g = graph(
        "(float[N,3,4,4] x) => (float[N,4,4,5] t) <float[5,3,1,1] w> "
        "{ a = Conv(x, w) p = Softmax<axis=1>(a) t = Transpose<perm=[0,2,3,1]>(p) }"
    )
    assert raw_outputs(g) == (RawOutput("t", "probabilities", None),)


@pytest.mark.parametrize(
    ("manifest", "meanings"),
    [
        ({}, ("values", "values")),
        ({"task": "seg"}, ("logits", "values")),
        ({"task": "det", "anchors": {"scores": "sigmoid"}}, ("binary logits", "values")),
        ({"task": "det", "anchors": {"scores": "softmax"}}, ("logits", "values")),
        ({"task": "pose"}, ("values", "values")),
    ],
)
def test_the_manifest_says_what_the_first_output_is(
    manifest: dict[str, object], meanings: tuple[str, ...]
) -> None:
    g = graph(
        "(float[N,3,4,4] x) => (float[N,5,4,4] a, float[N,4,4,4] b) "
        "<float[5,3,1,1] w, float[4,3,1,1] v> { a = Conv(x, w) b = Conv(x, v) }"
    )
    g.manifest.update(manifest)
    assert tuple(one.meaning for one in raw_outputs(g)) == meanings


def test_the_size_of_an_image_is_not_the_image() -> None:
    """A top-k of a shape selects nothing that depends on the weights."""
    g = graph(
        "(float[N,3,h,w] x) => (float[N,5,h,w] y) <float[5,3,1,1] v, int64[1] one = {1}> "
        "{ a = Conv(x, v) s = Shape(a) f = Cast<to=1>(s) most, at = TopK(f, one) "
        "z = Mul(most, most) y = Add(a, z) }",
        check=False,
    )
    assert [one.name for one in raw_outputs(g)] == ["y"]


def test_a_network_that_only_selects_is_refused() -> None:
    g = graph("(float[N,3,4,4] x) => (int64[N,4,4] y) { y = ArgMax<axis=1, keepdims=0>(x) }")
    with pytest.raises(UnsupportedGraphError, match="no output of the network is a smooth"):
        raw_outputs(g)
