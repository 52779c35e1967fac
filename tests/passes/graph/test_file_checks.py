"""Files whose parts contradict one another are refused with a sentence that names the part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fnac.passes.errors import PassFailedError, UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.graph import manifest_of
from fnac.passes.graph.manifest import read_manifest
from fnac.passes.graph.model_checks import one_line
from fnac.passes.running.limits import check_memory
from fnac.passes.running.run import random_feed
from fnac.passes.running.verify import compare
from tests.support.graphs import graph

BODY = """(float[1,2,8,8] x) => (float[1,2,8,8] y) <float[2,2,1,1] w, int64[4] four = {1,2,8,8}>
{ c = Conv(x, w)
  r = Reshape(c, four)
  y = Relu(r) }"""


def model() -> onnx.ModelProto:
    return graph(BODY).to_model()


def tensor(m: onnx.ModelProto, name: str) -> TensorProto:
    return next(t for t in m.graph.initializer if t.name == name)


def short_weight(m: onnx.ModelProto) -> None:
    tensor(m, "w").raw_data = tensor(m, "w").raw_data[:-4]


def huge_weight(m: onnx.ModelProto) -> None:
    tensor(m, "w").dims[0] = 2**40


def negative_weight(m: onnx.ModelProto) -> None:
    tensor(m, "w").dims[0] = -2


def unknown_type(m: onnx.ModelProto) -> None:
    tensor(m, "w").data_type = 99


def unread(m: onnx.ModelProto) -> None:
    tensor(m, "w").data_location = TensorProto.EXTERNAL


def untyped_input(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.elem_type = 0


def complex_output(m: onnx.ModelProto) -> None:
    m.graph.output[0].type.tensor_type.elem_type = TensorProto.COMPLEX64


def sequence_input(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def endless_side(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**62


def doubled_input(m: onnx.ModelProto) -> None:
    m.graph.input.add().CopyFrom(m.graph.input[0])


def doubled_output(m: onnx.ModelProto) -> None:
    m.graph.output.add().CopyFrom(m.graph.output[0])


def nested(m: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["c"], ["z"])], "inner", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["go"], ["z"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "inner", [], [])
        inner.node[0].attribute.pop()
    m.graph.node.append(helper.make_node("If", ["go"], ["z"], then_branch=inner))


def recursive(m: onnx.ModelProto) -> None:
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    m.functions.append(helper.make_function("own", "F", ["x"], ["y"], [call], opsets))
    m.opset_import.add(domain="own", version=1)
    m.graph.node[-1].op_type, m.graph.node[-1].domain = "F", "own"


def not_text(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.add(name="auto_pad", type=3, s=bytes([0xC3, 0x28]))


def texts_that_are_not_there(m: onnx.ModelProto) -> None:
    tensor(m, "w").data_type = TensorProto.STRING  # with the bytes of floats in raw_data


def texts_of_bytes(m: onnx.ModelProto) -> None:
    weight = tensor(m, "w")
    weight.data_type = TensorProto.STRING
    weight.ClearField("raw_data")
    weight.string_data.extend([b"\xff"] * 8)
    weight.dims[:] = [8]


def no_input(m: onnx.ModelProto) -> None:
    m.graph.node[2].input[0] = ""


def too_many(m: onnx.ModelProto) -> None:
    m.graph.node[2].input.extend(["c", "c"])


def float_kernel(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.add(name="kernel_shape", type=1, f=3.0)


def twice(m: onnx.ModelProto) -> None:
    for _ in range(2):
        m.graph.node[0].attribute.add(name="group", type=2, i=1)


def reference(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.add(name="group", type=2, ref_attr_name="n")


def a_piece(m: onnx.ModelProto) -> None:
    tensor(m, "w").segment.begin = 0


def strangers(m: onnx.ModelProto) -> None:
    m.graph.node[0].op_type = "ImageScaler"
    m.graph.node[2].op_type, m.graph.node[2].domain = "FusedConv", "com.microsoft"


def no_group(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.append(helper.make_attribute("group", 0))


def no_step(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.append(helper.make_attribute("strides", [2, -1]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_group, "c: attribute group is 0; wanted >= 1"),
        (no_step, "c: attribute strides is [2, -1]; wanted >= 1"),
        (short_weight, "w: 12 bytes are stored for the shape [2, 2, 1, 1], which takes 16; "),
        (huge_weight, "w: the shape [1099511627776, 2, 1, 1] of a stored tensor; "),
        (negative_weight, "w: the shape [-2, 2, 1, 1] of a stored tensor; "),
        (unknown_type, "w: type 99 values; "),
        (texts_that_are_not_there, "w: 0 values are stored for the shape [2, 2, 1, 1], which"),
        (texts_of_bytes, "w: a text that is not UTF-8; the file is damaged"),
        (unread, "w: its values are in another file, which was not read; "),
        (untyped_input, "input 'x' has no element type"),
        (complex_output, "y: COMPLEX64 values; "),
        (sequence_input, "x: it is a sequence_type; tensors are supported"),
        (endless_side, "x: a side of 4611686018427387904; "),
        (doubled_input, "x: two inputs have this name"),
        (doubled_output, "y: two outputs have this name"),
        (nested, "graphs are nested more than 16 deep; "),
        (recursive, "the model's local functions cannot be inlined (Cycle detected"),
        (not_text, "a name in the model is not UTF-8 text; "),
        (no_input, "y: input X of Relu is missing"),
        (too_many, "y: 3 inputs of Relu, which has 1"),
        (float_kernel, "c: attribute kernel_shape of Conv is of FLOAT; wanted INTS"),
        (twice, "c: an attribute of Conv is there twice"),
        (reference, "c: attribute group refers to a function's, outside of one"),
        (a_piece, "w: a piece (segment) of a tensor; "),
        (strangers, "(unknown in all: ImageScaler, com.microsoft:FusedConv)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_contradictions_are_named(spoil: Callable[[onnx.ModelProto], None], words: str) -> None:
    spoilt = model()
    Graph.from_model(spoilt)
    spoil(spoilt)
    with pytest.raises(UnsupportedGraphError) as error:
        Graph.from_model(spoilt)
    assert words in str(error.value)


LAYER = {"name": "a", "candidates": [{"name": "k3", "madds": 1, "params": 1}]}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"size": [224]}, "size is [224]; wanted two positive numbers of pixels or null"),
        ({"layers": 5}, "layers are 5; wanted a list"),
        ({"layers": [LAYER | {"candidates": []}]}, "layer a: its candidates are []; wanted"),
        ({"layers": [LAYER | {"seed_choice": "k5"}]}, "seed_choice is 'k5'; wanted one of"),
        ({"role": "super"}, "layers is null; wanted at least one layer"),
        ({"layers": [LAYER] * 2}, "layers are a, a; wanted layers of different names"),
        ({"preprocessing": {"mean": [0, 0, "x"]}}, "an object with mean and std"),
        ({"num_classes": -1}, "num_classes is -1; wanted a count or null"),
        ({"fixed_madds": True}, "fixed_madds is true; wanted a count"),
    ],
)
def test_a_spoilt_manifest_is_refused_by_key(entry: dict[str, object], words: str) -> None:
    with pytest.raises(UnsupportedGraphError) as error:
        read_manifest(json.dumps({"version": 1, **entry}))
    assert words in str(error.value)
    assert read_manifest('{"version": 1, "own": 3}') == {"own": 3}


def test_a_manifest_is_read_without_its_graph(tmp_path: Path) -> None:
    network = graph(BODY)
    without = network.save(tmp_path / "without.onnx")
    assert manifest_of(without) == {} == Graph.load(without).manifest
    network.manifest.update(role="target", task="seg", classes=["road", "car"])
    path = network.save(tmp_path / "with.onnx")
    assert manifest_of(path) == Graph.load(path).manifest != {}
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UnsupportedGraphError, match=r"with\.onnx: not a readable ONNX file"):
        manifest_of(path)


def test_a_network_that_needs_too_much_memory_is_not_run() -> None:
    body = """(float[1,1,8,8] x) => (float[a,b,c,d] y) <int64[4] n = {1,1,10000,10000}>
    { t = Tile(x, n)
      y = Relu(t) }"""
    with pytest.raises(UnsupportedGraphError, match=r"t \(Tile\): running it takes more than"):
        random_feed(graph(body))
    check_memory(graph(BODY), None, 1)
    large = graph("(float[1,3,9000,9000] x) => (float[1,3,9000,9000] y) { y = Relu(x) }")
    with pytest.raises(UnsupportedGraphError, match=r"input x: its shape .* more than 33554432"):
        random_feed(large)


def test_shapes_that_an_inner_graph_claims_are_not_believed() -> None:
    body = """(float[1,1,8,8] x, bool go) => (float[a,b,c,d] y) <int64[4] n = {1,1,10000,10000}>
    { t = If(go) <then_branch = g1 () => (float[1,1,8,8] u) { u = Tile(x, n) },
                  else_branch = g2 () => (float[1,1,8,8] v) { v = Tile(x, n) }>
      y = Relu(t) }"""
    with pytest.raises(UnsupportedGraphError, match="running it takes more than"):
        random_feed(graph(body, check=False))


def test_an_endless_loop_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnac.passes.running.limits.LOOP_SECONDS", 0.2)
    body = """(float[1,4] x) => (float[1,4] y) <int64 trips, bool go = {1}>
    { y = Loop(trips, go, x) <body = b (int64 i, bool c, float[1,4] s) => (bool d, float[1,4] t)
        { d = Identity(c)
          t = Relu(s) }> }"""
    endless = graph(body, values={"trips": 2**62}, check=False)
    with pytest.raises(PassFailedError, match="onnxruntime cannot run the graph"):
        compare(endless, endless)
    few = graph(body, values={"trips": 3}, check=False)
    assert compare(few, few).equal


def test_an_empty_list_is_the_default() -> None:
    odd = model()
    odd.graph.node[0].attribute.add(name="pads", type=7)
    assert "pads" not in Graph.from_model(odd).nodes[0].attrs


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "link.bin", "missing.bin"])
def test_external_data_outside_the_models_folder_is_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    made = model()
    onnx.save_model(
        made,
        folder / "m.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=1,
    )
    assert np.array_equal(
        next(c for c in Graph.load(folder / "m.onnx").constants() if c.name == "w").values,
        onnx.numpy_helper.to_array(tensor(model(), "w")),
    )
    moved = onnx.load(folder / "m.onnx", load_external_data=False)
    entry = next(e for e in tensor(moved, "w").external_data if e.key == "location")
    entry.value = place
    (folder / "m.onnx").write_bytes(moved.SerializeToString())
    gone = r"m\.onnx: its weights, missing\.bin, are not beside it"
    why = gone if place == "missing.bin" else r"m\.onnx: not a readable ONNX file"
    with pytest.raises(UnsupportedGraphError, match=why):
        Graph.load(folder / "m.onnx")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x",
            "Got invalid dimensions for input: x",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape "
            "node. Name:'r' Status Message: /src/onnxruntime/core/cpu/reshape_helper.h:47 "
            "onnxruntime::ReshapeHelper::ReshapeHelper(const TensorShape&, Dims&, bool) "
            "input_shape_size == size was false.",
            "Non-zero status code returned while running Reshape node. Name:'r' Status Message: "
            "input_shape_size == size was false.",
        ),
        ("two\n  lines", "two lines"),
    ],
)
def test_codes_and_places_in_sources_are_no_help(said: str, told: str) -> None:
    assert one_line(RuntimeError(said)) == told


@pytest.mark.parametrize("opset", [9, 18])
@pytest.mark.parametrize(
    ("domain", "version", "said"),
    [
        ("ai.onnx", 2**31, "operator set 2147483648 of the domain 'ai.onnx'"),
        ("some.where", -(2**40), "of the domain 'some.where'"),
        ("some.where", 2**62, "of the domain 'some.where'"),
        ("ai.onnx", 7, "two versions of the default operator set, {opset} and 7"),
    ],
)
def test_versions_that_no_library_holds_or_that_differ(
    domain: str, version: int, said: str, opset: int
) -> None:
    named = graph(BODY, opset=opset).to_model()
    named.opset_import.append(helper.make_opsetid(domain, version))
    with pytest.raises(UnsupportedGraphError, match=said.format(opset=opset)):
        Graph.from_model(named)


def test_the_default_operator_set_may_be_named_twice_alike() -> None:
    named = graph(BODY, opset=18).to_model()
    named.opset_import.append(helper.make_opsetid("ai.onnx", 18))
    assert Graph.from_model(named).opset == 18


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("field", ["output", "value_info"])
@pytest.mark.parametrize(("element", "side"), [(1000, 1), (1, 2**60)])
def test_what_inner_graphs_declare_is_looked_at(
    element: int, side: int, field: str, depth: int
) -> None:
    odd = helper.make_tensor_value_info("odd", element, [side])
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Identity", ["x"], ["odd"]),
        helper.make_node("Neg", ["x"], ["other"]),
    ]
    ends = {"output": ([odd], []), "value_info": ([other], [odd])}[field]
    body = helper.make_graph(nodes, "body", [], ends[0], value_info=ends[1])
    for level in range(depth):
        name = f"r{level}"
        choice = helper.make_node("If", ["c"], [name], then_branch=body, else_branch=body)
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        body = helper.make_graph([choice], f"level{level}", [], [result])
    body.input.extend(
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ]
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(UnsupportedGraphError, match=r"^odd: "):
        Graph.from_model(model)
