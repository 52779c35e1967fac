"""Networks in half or double precision become float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fnac.passes.base import Report
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.prepare.convert_float32 import ConvertFloat32
from tests.support.graphs import graph, outputs

BODY = """({0}[1,3,8,8] x) => ({0}[1,4,8,8] y, float[1,4,8,8] z) <{0}[4,3,3,3] w, {0}[4] b>
{{ c = Conv<pads=[1,1,1,1]>(x, w, b)
  y = Relu(c)
  z = Cast<to=1>(y) }}"""


MATMUL = """(double[1,4] x) => (double[1,3] y) <double[4,3] w, double[3] b>
{{ c = MatMul(x, w)
  y = Add(c, b) }}"""  # onnxruntime has no convolution of doubles


@pytest.mark.parametrize(("kind", "body"), [("float16", BODY), ("double", MATMUL)])
def test_small_integers_compute_the_same(kind: str, body: str) -> None:
    before = graph(body.format(kind))
    after = before.copy()
    report = ConvertFloat32().run(after)
    assert report.rewrote["graph"] == f"{kind} to float32"
    for output in before.outputs:  # of float16 on a random image
        assert moved(report, output.inputs[0].name) < 1e-3
    assert report.initializers == {"w": f"copied from {kind}", "b": f"copied from {kind}"}
    assert {str(t.dtype) for t in [*after.inputs, *after.outputs]} == {"float32"}
    x = np.random.default_rng(0).integers(-3, 4, before.inputs[0].shape)
    old = outputs(before, {"x": x.astype(before.inputs[0].dtype)})
    new = outputs(after, {"x": x.astype(np.float32)})
    for name in old:
        np.testing.assert_array_equal(old[name].astype(np.float32), new[name])
    assert ConvertFloat32().run(after).rewrote == {}


def moved(report: Report, node: str) -> float:
    """Return how far the output of ``node`` moved, as the report says it."""
    words = report.rewrote[node].split()
    assert (words[:2], words[3:]) == (["moved", "by"], ["of", "largest"])
    return float(words[2])


def test_bfloat16_weights_become_float32() -> None:
    made = graph(BODY.format("bfloat16"), opset=22)
    report = ConvertFloat32().run(made)
    assert report.rewrote["y"] == "unknown: the original cannot run"
    plain = graph(BODY.format("float"), opset=22)
    x = {"x": np.random.default_rng(0).integers(-3, 4, (1, 3, 8, 8)).astype(np.float32)}
    for name, array in outputs(plain, x).items():
        np.testing.assert_array_equal(array, outputs(made, x)[name])


def test_what_cannot_be_converted_is_left() -> None:
    large = graph(BODY.format("double"), values={"b": 1e300})
    assert ConvertFloat32().run(large).left == {
        "graph": "b holds 1e+300, which is too large for float32"
    }
    body = """(float16[1,4] x, bool go) => (float16[1,4] y)
    { y = If(go) <then_branch = a () => (float16[1,4] u) { u = Relu(x) },
                  else_branch = b () => (float16[1,4] v) { v = Neg(x) }> }"""
    assert ConvertFloat32().run(graph(body)).left == {"graph": "y (If) holds a graph"}
    assert ConvertFloat32().run(graph(BODY.format("float"))).left == {}


def test_a_published_half_network_keeps_its_answers(shared_data: Path) -> None:
    seed = Graph.load(shared_data / "wild" / "squeezenet_fp16.onnx")
    manager = PassManager()
    manager.run([ConvertFloat32()], seed)
    report = manager.ledger[0].report
    assert report.rewrote["graph"] == "float16 to float32"
    # every node of the original rounds to 11 bits
    assert moved(report, seed.outputs[0].inputs[0].name) < 2e-2


def test_bfloat16_is_looked_at_without_being_run(tmp_path: Path) -> None:
    from fnac.cli import run as fnac
    from fnac.passes.cost import profile

    path = graph(BODY.format("bfloat16"), opset=22).save(tmp_path / "b.onnx")
    assert profile(Graph.load(path)).params == 4 * 3 * 9 + 4
    assert fnac(["inspect", str(path)]) == 0
    assert fnac(["verify", str(path), str(path)]) == 3


@pytest.mark.parametrize("op", ["EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_stated_types_of_outputs_become_float32(op: str) -> None:
    """Every operator of the one table, whichever conversion looks it up."""
    after = graph(
        f"""(float16[4,4] x) => (float16[4,4] y) <float16[4,4] w>
           {{ e = {op}<dtype=10>(x) a = Add(x, e) y = MatMul(a, w) }}"""
    )
    ConvertFloat32().run(after)
    after.check()
    assert next(n for n in after.nodes if n.op == op).attrs["dtype"] == 1
