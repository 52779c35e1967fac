from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import version_converter

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


def test_an_output_may_be_a_stored_tensor() -> None:
    before = graph(
        "(float[N,4] x) => (float[N,4] y, float[2] c) <float[2] c = {1, 2}> { y = Relu(x) }",
        opset=11,
    )
    after, report = applied(RaiseOpset(), before)
    assert report.rewrote == {"graph": "operator set 11 -> 18"}
    assert list(after.outputs[1].values) == [1, 2]


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


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 16])
def test_the_converter_is_given_no_weights(opset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies all that it is given, and takes no more than 2 GB."""
    before = graph(
        """(float[N,8,8,8] x) => (float[N,9] y, float[N,9] z) <float[8,8,3,3] w, float[8] b,
           float[8,9] f, float[9] g>
           { c = Conv<pads=[1,1,1,1]>(x, w, b) d = Conv<pads=[1,1,1,1]>(c, w, b)
             p = GlobalAveragePool(d) q = Flatten(p) y = Gemm(q, f, g) z = Gemm(q, f, g) }""",
        opset=opset,
    )
    stored = {constant.name: constant.values for constant in before.constants()}
    sizes: list[int] = []

    def convert(model: onnx.ModelProto, to: int) -> onnx.ModelProto:
        sizes.append(model.ByteSize())
        return version_converter.convert_version(model, to)

    converter = SimpleNamespace(convert_version=convert)
    monkeypatch.setattr("fnac.passes.normalize.raise_opset.version_converter", converter)
    after, report = applied(RaiseOpset(), before)
    assert report.rewrote == {"graph": f"operator set {opset} -> 18"}
    assert sizes[0] < 8 * 8 * 9 * 4
    assert {constant.name for constant in after.constants()} == stored.keys()
    assert all(np.array_equal(c.values, stored[c.name]) for c in after.constants())
    assert [tensor.name for tensor in after.inputs] == ["x"]
    assert_same_outputs(before, after)


@pytest.mark.parametrize("opset", [7, 11])
def test_what_the_converter_adds_is_named_after_the_files_node(opset: int) -> None:
    """A Softmax below 13 becomes Flatten, Softmax and Reshape: messages name it, not those."""
    before = graph(
        "(float[N,2,3,3] x) => (y) { a = Relu(x) b = Softmax(a) y = Neg(b) }", opset=opset
    )
    after, _ = applied(RaiseOpset(), before)
    assert len(after.nodes) > 3
    assert {node.name.split(".")[0] for node in after.nodes} == {"a", "b", "y"}
    assert len({node.name for node in after.nodes}) == len(after.nodes)
