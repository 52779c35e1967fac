"""Weights are weights and padding is none, at every stage, however they are spelt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.support.through_stages import CHANNELS, QUICK, SIZE, backbone, through
from tests.support.written_nets import NEWEST, Written

H, W = SIZE
FIXED = (1, 3, *SIZE)
NEW = 2  # channels that a shortcut pads

Spelling = Callable[[Written, str], str]


def zeros(net: Written, x: str) -> str:
    """``ConstantOfShape`` of stored sides (MediaPipe's networks by tf2onnx and tflite2onnx)."""
    return str(net.op("ConstantOfShape", net.keep([1, NEW, H, W])))


def zeros_like(net: Written, x: str) -> str:
    """``ConstantOfShape`` of sides that are read from the features."""
    sides = net.slice(net.op("Shape", x), 2, 4)
    batch = net.slice(net.op("Shape", x), 0, 1)
    shape = net.op("Concat", batch, net.keep([NEW]), sides, axis=0)
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0])
    return str(net.op("ConstantOfShape", shape, value=value))


def expanded_zero(net: Written, x: str) -> str:
    return str(net.op("Expand", net.keep(0, np.float32), net.keep([1, NEW, H, W])))


PADDINGS: list[Spelling] = [zeros, zeros_like, expanded_zero]


def padded(padding: Spelling, opset: int, folder: Path) -> None:
    net = Written(FIXED, opset)
    x = backbone(net, "x")
    through(net.model(net.op("Concat", x, padding(net, x), axis=1)), folder, stages=QUICK)


@pytest.mark.parametrize("padding", PADDINGS, ids=lambda one: one.__name__)
def test_padding_is_counted_trained_and_stored_nowhere(padding: Spelling, tmp_path: Path) -> None:
    padded(padding, 11, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(9, NEWEST + 1))
@pytest.mark.parametrize("padding", PADDINGS, ids=lambda one: one.__name__)
def test_padding_at_every_operator_set(padding: Spelling, opset: int, tmp_path: Path) -> None:
    padded(padding, opset, tmp_path)


def hidden(how: str, opset: int) -> ModelProto:
    """Return the backbone, its weights behind what exporters put in front of them."""
    net = Written(FIXED, opset, nodes_for_numbers=how == "constant")
    model = net.model(backbone(net, "x"))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    front = []
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in stored:
                continue
            if how == "half":
                array = numpy_helper.to_array(stored[name]).astype(np.float16)
                stored[name].CopyFrom(numpy_helper.from_array(array, name))
                made = helper.make_node("Cast", [name], [f"{name}.f"], to=TensorProto.FLOAT)
            elif how == "identity":
                made = helper.make_node("Identity", [name], [f"{name}.i"])
            else:
                continue
            made.name = made.output[0]
            front.append(made)
            node.input[place] = made.output[0]
    nodes = [*front, *model.graph.node]
    body = helper.make_graph(nodes, "g", model.graph.input, model.graph.output, stored.values())
    return helper.make_model(body, opset_imports=model.opset_import, ir_version=model.ir_version)


@pytest.mark.parametrize(("how", "opset"), [("constant", 9), ("identity", 11), ("half", 13)])
def test_hidden_weights_are_weights_at_every_stage(how: str, opset: int, tmp_path: Path) -> None:
    through(hidden(how, opset), tmp_path, stages=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
@pytest.mark.parametrize("how", ["constant", "identity", "half"])
def test_hidden_weights_at_every_operator_set(how: str, opset: int, tmp_path: Path) -> None:
    through(hidden(how, opset), tmp_path)


@pytest.mark.parametrize("opset", [7, 11, NEWEST])
def test_a_learned_factor_is_a_parameter(opset: int, tmp_path: Path) -> None:
    """The gamma of an attention, the scale of a head: one element, of rank one."""
    net = Written(FIXED, opset)
    x = backbone(net, "x")
    scaled = net.op("Mul", x, net.keep([0.5], np.float32))
    model = net.model(net.op("Add", scaled, x))
    through(model, tmp_path, more_weights=1, stages=QUICK)


@pytest.mark.parametrize("opset", [9, 13, NEWEST])
def test_zero_biases_that_are_stored_once_bind_no_layers(opset: int, tmp_path: Path) -> None:
    net = Written(FIXED, opset)
    model = net.model(backbone(net, "x"))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    shared: dict[int, str] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            tensor = stored[node.input[2]]
            length = tensor.dims[0]
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(length, np.float32), tensor.name))
            node.input[2] = shared.setdefault(length, node.input[2])
    merged = sum(tensor.dims[0] for name, tensor in stored.items() if name.startswith("w")
                 and len(tensor.dims) == 1 and name not in shared.values())  # fmt: skip
    used = [tensor for name, tensor in stored.items()
            if any(name in node.input for node in model.graph.node)]  # fmt: skip
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)
    assert len(shared) == 2
    assert CHANNELS in shared
    through(model, tmp_path, more_weights=-merged, stages=QUICK)
