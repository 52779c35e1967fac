"""The versions that a file states are the lowest it needs, and change no operator."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from fnac.errors import UsageError
from fnac.passes.emit.state_opset import StateOpset
from fnac.passes.graph import Graph
from fnac.passes.normalize.raise_opset import RaiseOpset
from fnac.stages.emit import EmitSettings, emit
from tests.support.graphs import applied, assert_same_outputs, graph

CONV = """(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,1,1] w>
          { c = Conv(x, w) y = %s }"""


@pytest.mark.parametrize(
    ("last", "stated", "opset", "ir"),
    [
        ("Relu(c)", 18, 14, 7),  # Relu 14, Conv 11
        ("Sigmoid(c)", 18, 13, 7),
        ("Elu(c)", 18, 11, 6),  # Conv 11
        ("HardSwish(c)", 18, 14, 7),
        ("Gelu(c)", 20, 20, 9),
        ("Relu(c)", 22, 22, 10),  # Conv 22 is another definition: what is stated has to stay
    ],
)
def test_the_lowest_versions(last: str, stated: int, opset: int, ir: int) -> None:
    before = graph(CONV % last, opset=stated)
    assert before.opset == stated
    after, report = applied(StateOpset(), before)
    assert (after.opset, after.to_model().ir_version) == (opset, ir)
    assert report.left == {}
    assert [n.op for n in after.nodes] == [n.op for n in before.nodes]
    assert_same_outputs(before, after)
    onnx.checker.check_model(after.to_model(), full_check=True)


def test_nodes_inside_of_nodes_count() -> None:
    """An If (16) one of whose branches holds a Mish (18) needs 18."""
    inner = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [f"{op}_y"], name=op)],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_y", TensorProto.FLOAT, [2])],
        )
        for op in ("Mish", "Elu")
    ]
    node = helper.make_node(
        "If", ["c"], ["y"], name="if", then_branch=inner[0], else_branch=inner[1]
    )
    body = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    made = Graph.from_model(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    )
    StateOpset().run(made)
    assert (made.opset, made.to_model().ir_version) == (18, 8)
    assert made.copy().to_model().ir_version == 8


def test_another_set_is_stated_only_where_nothing_changes() -> None:
    body = CONV % "Relu(c)"
    after, _ = applied(StateOpset(16), graph(body))
    assert (after.opset, after.to_model().ir_version) == (16, 8)
    _, report = applied(StateOpset(13), graph(body))
    assert report.left == {"graph": "operator set 13: y (Relu) needs 14"}
    _, report = applied(StateOpset(22), graph(body))
    assert report.left == {
        "graph": "operator set 22: c (Conv) is defined otherwise there than in 17"
    }


def test_emit_states_what_it_needs_or_what_is_asked_for(tmp_path: Path) -> None:
    model = graph(CONV % "Relu(c)").save(tmp_path / "m.onnx")
    emitted = emit(model, tmp_path / "a.onnx", EmitSettings()).path
    stated = onnx.load(emitted)
    assert (stated.opset_import[0].version, stated.ir_version) == (14, 7)
    raised = emit(model, tmp_path / "b.onnx", EmitSettings(opset=22)).path
    stated = onnx.load(raised)
    assert (stated.opset_import[0].version, stated.ir_version) == (22, 10)
    assert_same_outputs(Graph.load(emitted), Graph.load(raised))
    with pytest.raises(
        UsageError, match=r"--opset 12: operator set 12: .* needs 14; leave --opset"
    ):
        emit(model, tmp_path / "c.onnx", EmitSettings(opset=12))
    with pytest.raises(UsageError, match="--opset 99: wanted 1 to "):
        EmitSettings(opset=99)


def test_a_raised_network_goes_back() -> None:
    """What raising for the passes cost a file is given back, where the definitions allow it."""
    found = graph(CONV % "Relu(c)", opset=14)
    raised, _ = applied(RaiseOpset(), found)
    after, _ = applied(StateOpset(), raised)
    assert after.opset == 14
