from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.normalize.raise_opset import RaiseOpset
from tests.support.graphs import applied, assert_same_outputs, graph, text


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("(float[N,4] x) => (float[N,4] y) { y = Clip<min = 0.0, max = 6.0>(x) }", 7),
        (
            """(float[N,2,4,4] x) => (float[N,2,4,4] y)
               <float[2] g, float[2] b, float[2] m, float[2] v>
               { y = BatchNormalization(x, g, b, m, v) }""",
            7,
        ),
        ("(float[N,2,4,4] x) => (y) { y = ReduceMean<axes = [2, 3], keepdims = 0>(x) }", 13),
        ("(float[N,2,4,4] x) => (y) { y = Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(x) }", 9),
        ("(float[N,2,3,4] x) => (float[N,2,3,4] y) { y = Softmax<axis = 1>(x) }", 9),
        ("(float[N,4,3] x) => (y, z) { y, z = Split<axis = 1, split = [1, 3]>(x) }", 11),
    ],
)
def test_the_network_computes_the_same_in_the_new_set(body: str, opset: int) -> None:
    before = graph(body, opset=opset, values={"v": [1, 4]} if "[2] v" in body else None)
    after, report = applied(RaiseOpset(to=18), before)
    assert report.rewrote == {"graph": f"operator set {opset} -> 18"}
    assert after.opset == 18
    # Softmax changed its meaning between 9 and 13: the converter rebuilds it from other nodes
    assert_same_outputs(before, after, tolerance=1e-6 if "Softmax" in body else 0.0)
    assert applied(RaiseOpset(to=18), after)[1].rewrote == {}


def test_metadata_manifest_and_interface_survive() -> None:
    before = graph("(float[N,4] x) => (float[N,4] y) { h = Relu(x) y = Neg(h) }", opset=11)
    before.metadata["licence"] = "MIT"
    before.manifest["role"] = "seed"
    before.nodes[1].metadata["fnac.part"] = "head"
    after, _ = applied(RaiseOpset(), before)
    assert (after.metadata, after.manifest) == ({"licence": "MIT"}, {"role": "seed"})
    assert [n.metadata for n in after.nodes] == [{}, {"fnac.part": "head"}]
    assert [list(t.shape) for t in (*after.inputs, *after.outputs)] == [["N", 4], ["N", 4]]


def test_left_when_the_converter_has_no_rule() -> None:
    before = graph(
        """(float[3,2,4] x) => (float[3,1,2,5] y) <float[1,15,4] w, float[1,15,5] r>
           { y = GRU<hidden_size = 5>(x, w, r) }""",
        opset=3,
        check=False,
    )
    after, report = applied(RaiseOpset(), before)
    assert report.rewrote == {}
    assert report.left["graph"].startswith("ONNX's version converter says: ")
    assert "No Adapter" in report.left["graph"]
    assert text(after) == text(before)
    assert after.opset == 3


def test_a_newer_network_is_not_touched() -> None:
    before = graph("(float[N,4] x) => (float[N,4] y) { y = Relu(x) }", opset=20)
    after, report = applied(RaiseOpset(), before)
    assert report.rewrote == {}
    assert after.opset == 20
    assert np.dtype(after.outputs[0].dtype) == np.float32
