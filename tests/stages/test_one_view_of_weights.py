"""Weights behind Constant, Identity or Cast are the weights they are where they stand alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fnac.importer import import_onnx, write_back
from fnac.inspection.inspect import InspectSettings, inspect_file
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.running.run import random_feed, run
from fnac.passes.running.verify import compare
from fnac.stages.emit import EmitSettings, emit
from tests.support.mbconv_networks import mbconv_network

HALF = {"half": (np.float16, True), "double": (np.float64, True), "same": (np.float32, False)}
SPELLINGS = ("constant", "identity", "two identities", "constant and identity", *HALF)


def plain(opset: int) -> onnx.ModelProto:
    model = mbconv_network(((6, 2, 2),), opset=opset).to_model()
    for tensor in model.graph.initializer:  # numbers that float16 holds
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def hidden(model: onnx.ModelProto, how: str) -> onnx.ModelProto:
    """Let every node that has weights read them as ``how`` says."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {t.name: t for t in result.graph.initializer if t.data_type == TensorProto.FLOAT}
    front: list[onnx.NodeProto] = []
    lifted: set[str] = set()

    def behind(op: str, source: list[str], name: str, **attributes: object) -> str:
        front.append(helper.make_node(op, source, [name], name=name, **attributes))
        return name

    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name not in stored or node.op_type not in ("Conv", "BatchNormalization", "Gemm"):
                continue
            source = name
            if how.startswith("constant"):
                source = behind("Constant", [], f"{name}.c", value=stored[name])
                lifted.add(name)
            for _ in range(how.count("identit") + how.count("two")):
                source = behind("Identity", [source], f"{source}.i")
            if how in HALF:
                kind, other = HALF[how]
                array = numpy_helper.to_array(stored[name]).astype(kind)
                stored[name].CopyFrom(numpy_helper.from_array(array, name))
                source = behind("Cast", [name], f"{name}.f", to=TensorProto.FLOAT)
                assert other == (stored[name].data_type != TensorProto.FLOAT)
            node.input[index] = source
    nodes = [*front, *result.graph.node]
    kept = [t for t in result.graph.initializer if t.name not in lifted]
    fresh = onnx.GraphProto()
    fresh.node.extend(nodes)
    fresh.initializer.extend(kept)
    del result.graph.node[:]
    del result.graph.initializer[:]
    result.graph.node.extend(fresh.node)
    result.graph.initializer.extend(fresh.initializer)
    onnx.checker.check_model(result)
    return result


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
@pytest.mark.parametrize("how", SPELLINGS)
def test_every_stage_sees_the_same_weights(how: str, opset: int, tmp_path: Path) -> None:
    alone, model = plain(opset), hidden(plain(opset), how)
    onnx.save(alone, tmp_path / "alone.onnx")
    onnx.save(model, tmp_path / "hidden.onnx")
    graphs = [Graph.from_model(one) for one in (alone, model)]
    costs = [profile(graph) for graph in graphs]
    assert (costs[0].madds, costs[0].params) == (costs[1].madds, costs[1].params)
    rows = [
        [
            (b["kind"], b["channels"], b["candidates"])
            for b in inspect_file(path, InspectSettings()).blocks
        ]
        for path in (tmp_path / "alone.onnx", tmp_path / "hidden.onnx")
    ]
    assert rows[0] == rows[1]
    assert rows[0]
    modules = [import_onnx(one) for one in (alone, model)]
    kinds = [
        sorted(
            (type(part).__name__, tuple(p.shape))
            for part in module.modules()
            for p in part.parameters(recurse=False)
        )
        for module in modules
    ]
    assert kinds[0] == kinds[1]
    assert sum(p.numel() for p in modules[1].parameters()) == costs[0].params
    emit(tmp_path / "hidden.onnx", tmp_path / "emitted.onnx", EmitSettings())
    emitted = Graph.load(tmp_path / "emitted.onnx")
    assert not {"BatchNormalization", "Cast", "Identity"} & {node.op for node in emitted.nodes}


@pytest.mark.parametrize("how", SPELLINGS)
def test_trained_weights_go_back_into_the_file(how: str) -> None:
    model = hidden(plain(17), how)
    module = import_onnx(model)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.25
    back = write_back(module, model)
    again = import_onnx(back)
    trained = sorted(float(p.detach().double().sum()) for p in module.parameters())
    assert trained == pytest.approx(
        sorted(float(p.detach().double().sum()) for p in again.parameters())
    )
    assert not compare(Graph.from_model(model), Graph.from_model(back)).equal


def test_what_two_casts_make_of_one_weight_stays_one() -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["w"], ["a"], to=TensorProto.FLOAT),
                helper.make_node("Cast", ["w"], ["b"], to=TensorProto.FLOAT),
                helper.make_node("Conv", ["x", "a"], ["c"], pads=[1, 1, 1, 1]),
                helper.make_node("Conv", ["c", "b"], ["y"], pads=[1, 1, 1, 1]),
            ],
            "tied",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [numpy_helper.from_array(np.full((3, 3, 3, 3), 0.5, np.float16), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = Graph.from_model(model)
    assert [(c.name, c.dtype) for c in graph.constants()] == [("w", np.dtype(np.float32))]
    assert profile(graph).params == 81
    module = import_onnx(model)
    assert list(module.parameter_names) == ["w"]
    feed = random_feed(graph)
    expected = run(graph, feed)["y"]
    np.testing.assert_allclose(
        module(torch.from_numpy(feed["x"])).detach().numpy(), expected, rtol=1e-4
    )


def test_a_cast_that_is_an_output_or_narrows_stays_a_node() -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
                helper.make_node("Cast", ["v"], ["half"], to=TensorProto.FLOAT16),
                helper.make_node("Mul", ["x", "half"], ["y"]),
            ],
            "outputs",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 3])],
            [
                helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 3]),
                helper.make_tensor_value_info("wide", TensorProto.FLOAT, [3]),
            ],
            [
                numpy_helper.from_array(np.ones(3, np.float16), "w"),
                numpy_helper.from_array(np.ones(3, np.float32), "v"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = Graph.from_model(model)
    assert [node.op for node in graph.nodes] == ["Cast", "Cast", "Mul"]
    assert {c.name: str(c.dtype) for c in graph.constants()} == {"w": "float16", "v": "float32"}
