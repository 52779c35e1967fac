from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fnac.errors import UsageError
from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.heads.replace_classes import ReplaceClasses
from fnac.stages.expand import ExpandSettings, prepare_seed
from tests.support.graphs import applied, graph, outputs

MAPS = """(float[N,2,4,4] x) => (y) <float[3,2,3,3] v, float[5,3,1,1] w, float[5] b,
    float[4] s = {1, 1, 2, 2}>
    { h = Conv<pads = [1, 1, 1, 1]>(x, v) c = Conv(h, w, b) r = Resize<mode = "linear">(c, , s)
      p = Softmax<axis = 1>(r) y = ArgMax<axis = 1, keepdims = 0>(p) }"""
ROWS = """(float[N,4] x) => (y) <float[4,6] w, float[6] b>
    { c = Gemm(x, w, b) y = Softmax<axis = 1>(c) }"""


def test_the_last_layer_of_maps_starts_anew_and_logits_leave() -> None:
    before = graph(MAPS, opset=18)
    after, report = applied(ReplaceClasses(classes=7), before)
    assert [n.op for n in after.nodes] == ["Conv", "Conv", "Resize"]
    assert [(t.name, list(t.shape)) for t in after.outputs] == [("logits", ["N", 7, 8, 8])]
    assert report.rewrote == {
        "p": "gone: logits are trained", "y": "gone: logits are trained", "c": "5 -> 7 outputs",
    }  # fmt: skip
    assert report.initializers == {"w.classes7": "fresh: random", "b.classes7": "fresh: zeros"}
    assert [n.metadata.get("fnac.part") for n in after.nodes] == [None, "head", "head"]
    np.testing.assert_array_equal(after.nodes[0].inputs[1].values, before.nodes[0].inputs[1].values)
    assert outputs(after)["logits"].std() > 0


def test_rows_of_a_gemm_and_as_many_classes_as_before() -> None:
    after, _ = applied(ReplaceClasses(classes=2), graph(ROWS))
    assert [list(t.shape) for t in after.outputs] == [["N", 2]]
    assert after.nodes[0].inputs[1].shape == (4, 2)
    same, report = applied(ReplaceClasses(classes=6), graph(ROWS))
    assert report.left == {"c": "it has 6 outputs already"}
    np.testing.assert_array_equal(
        same.nodes[0].inputs[1].values, graph(ROWS).nodes[0].inputs[1].values
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("(float[N,2] x) => (y) { y = Softmax(x) }", "the network's input makes the output y"),
        ("(float[N,2] x) => (y) { y = Tanh(x) }", r"y \(Tanh\) makes the output y"),
        ("(float[N,4] x) => (y) <float[4,6] w> { c = Gemm(x, w) t = Tanh(c) y = Add(t, c) }",
         r"y \(Add\) makes the output"),
    ],
)  # fmt: skip
def test_refuses_what_has_no_such_layer(body: str, why: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=why):
        applied(ReplaceClasses(), graph(body))


def test_a_trained_segmenter_keeps_its_head(shared_data: Path) -> None:
    g = Graph.load(shared_data / "weights_imagenet" / "deeplabv3_mnv2_pascal_qdq.onnx")
    settings = ExpandSettings(
        task="seg", head="own", classes=11, size=(97, 129), restore_batchnorm=False
    )
    made = prepare_seed(g, settings)  # proven pass by pass
    assert [list(t.shape[1:]) for t in made.outputs] == [[11, 97, 129]]
    assert made.manifest["head"] == "own"
    kept = {tuple(n.inputs[1].shape) for n in made.nodes if n.op == "Conv"}
    assert {(256, 320, 1, 1), (256, 512, 1, 1), (11, 256, 1, 1)} <= kept


def test_a_detectors_own_head_is_no_training_target() -> None:
    with pytest.raises(UsageError, match="--head own: known for seg, cls, pose"):
        ExpandSettings(task="det", head="own", classes=3)
