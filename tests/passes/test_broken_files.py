"""A file that no runtime runs, or that asks for too much, is the file's fault: said at the door."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.normalize.pipeline import PIPELINE
from fnac.passes.running.run import check_runs
from tests.support.written_nets import NEWEST, Written


def broken(fault: str, opset: int) -> onnx.ModelProto:
    """Return a network that an exporter's bug left."""
    net = Written((1, 3, 16, 16), opset)
    x = net.op("Relu", net.conv("x", 3, 4))
    match fault:
        case "dilations":
            x = net.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, dilations=[1, 1, 1])
        case "channels":
            x = net.conv(x, 7, 4)
        case "product":
            x = net.op("MatMul", net.op("Flatten", x), net.weight(5, 10))
        case "concat":
            x = net.op("Concat", x, net.keep(np.zeros((1, 4, 9, 9)), np.float32), axis=1)
        case "reshape":
            x = net.op("Reshape", x, net.keep([1, 5, 7]))
    return net.model(net.op("Identity", net.op("Identity", x)))


@pytest.mark.parametrize("fault", ["dilations", "channels", "product", "concat", "reshape"])
def test_no_pass_is_blamed_for_what_the_file_brought(fault: str) -> None:
    for opset in (11, 13, 17, NEWEST):
        with pytest.raises(UnsupportedGraphError):
            check_runs(Graph.from_model(broken(fault, opset)))
        with pytest.raises(UnsupportedGraphError):  # a door that did not look
            PassManager().run(PIPELINE, Graph.from_model(broken(fault, opset)))


def test_a_sparse_weight_is_refused_before_anything_is_made_of_it() -> None:
    sparse = onnx.SparseTensorProto(dims=[4, 4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, 5]), "w.indices"))
    net = Written((1, 4), 17)
    model = net.model(net.op("MatMul", "x", "w"))
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(UnsupportedGraphError, match="w: a sparse initializer"):
        Graph.from_model(model)


def test_functions_that_call_each_other_are_counted_before_they_are_written_out() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = []
    for place in range(30):
        calls = [
            helper.make_node(f"f{place + 1}", ["a"], ["t"], domain="local"),
            helper.make_node(f"f{place + 1}", ["t"], ["b"], domain="local"),
        ]
        last = [helper.make_node("Relu", ["a"], ["b"])]
        nodes = calls if place < 29 else last
        functions.append(helper.make_function("local", f"f{place}", ["a"], ["b"], nodes, imports))
    net = Written((1, 4), 17)
    model = net.model("y")
    model.graph.node.append(helper.make_node("f0", ["x"], ["y"], domain="local"))
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(UnsupportedGraphError, match="more than 100000 nodes"):
        Graph.from_model(model)


def test_a_loop_that_doubles_its_tensor_is_stopped_at_a_gigabyte() -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Concat", ["s", "s"], ["twice"], axis=0),
        ],
        "body",
        [value("i", 7, []), value("go", 9, []), value("s", 1, None)],
        [value("on", 9, []), value("twice", 1, None)],
    )
    net = Written((1, 3, 8, 8), 17)
    model = net.model(net.op("Loop", net.keep(40, np.int64), net.keep(True), "x", body=body))
    with pytest.raises(UnsupportedGraphError, match="memory"):
        check_runs(Graph.from_model(model))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, NEWEST])
def test_an_output_whose_rank_is_not_known_is_no_fault(opset: int) -> None:
    """``view(b, -1, 2)`` with a computed shape is the last node (SSD, RetinaFace)."""
    net = Written((1, 3, 16, 16), opset)
    maps = net.op("Transpose", net.conv("x", 3, 4), perm=[0, 2, 3, 1])
    parts = net.unsqueeze(net.size(maps, 0)), net.keep([-1]), net.keep([2])
    end = net.op("Reshape", maps, net.op("Concat", *parts, axis=0))
    model = net.model(end)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(end, 1, [1, 512, 2]))
    graph = Graph.from_model(model)
    PassManager().run(PIPELINE, graph)
    assert list(graph.outputs[0].shape)[1:] == [512, 2]
