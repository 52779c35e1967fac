"""Who owns a weight: shared, elsewhere, computed, renamed by exporters; and the way back."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fnac.importer import import_onnx, unwrapped, write_back
from fnac.importer.building.attributes import complement, shortest
from fnac.importer.building.registry import converter, find
from fnac.passes.errors import PassFailedError, UnsupportedGraphError
from tests.support.importing import assert_close, assert_imports, model, run_ort, run_torch

IMAGE = (2, 4, 6, 6)


def test_shared_initializer_is_one_parameter() -> None:
    made = model(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <float[4,4,3,3] c_W> { "
        "a = Conv<pads=[1,1,1,1]>(x, c_W) b = Relu(a) d = Conv<pads=[1,1,1,1]>(b, c_W) "
        "e = Conv<pads=[2,2,2,2],dilations=[2,2]>(d, c_W) y = Add(e, d) }"
    )
    module = assert_imports(made, IMAGE)
    assert len(list(module.parameters())) == 1
    assert [str(n.target) for n in module.graph.nodes if n.op == "call_module"][:3] == [
        "c",
        "b",
        "c",  # equal attributes: the same module again
    ]
    twin = copy.deepcopy(module)
    assert len(list(twin.parameters())) == 1
    twin.double()
    assert len(list(twin.parameters())) == 1


def test_weight_shared_with_a_matrix_product_is_one_parameter() -> None:
    made = model(
        "(float[N,4] x) => (float[N,4] y) <float[4,4] f_W> "
        "{ h = Gemm<transB=1>(x, f_W) y = MatMul(h, f_W) }"
    )
    module = assert_imports(made, (2, 4))
    assert module.parameter_names == {"f.weight": "f.weight"}
    assert len(list(module.parameters())) == 1


def test_identity_of_an_initializer_unties_it() -> None:
    made = model(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <float[4,4,1,1] a_W> "
        "{ b_W = Identity(a_W) h = Conv(x, a_W) y = Conv(h, b_W) }"
    )
    module = assert_imports(made, IMAGE)
    assert module.parameter_names == {"a.weight": "a.weight", "b.weight": "b.weight"}
    with torch.no_grad():
        module.get_tensor("b.weight").mul_(2)
    back = write_back(module, made)
    assert [n.op_type for n in back.graph.node] == ["Conv", "Conv"]
    feed = [np.ones(IMAGE, np.float32)]
    assert_close(run_torch(module, feed), run_ort(back, feed), 1e-5)


def test_weights_that_compute_elsewhere_are_parameters_of_their_own_name() -> None:
    made = model(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) "
        "<float[4,1,1] scale, float[1,4,1,1] shift, float half = {0.5}> "
        "{ a = Mul(x, scale) b = Add(shift, a) y = Mul(b, half) }"
    )
    module = assert_imports(made, IMAGE)
    assert module.parameter_names == {"scale": "scale", "shift": "shift"}
    assert all(isinstance(module.get_tensor(n), nn.Parameter) for n in ("scale", "shift"))


def test_gradient_goes_through_a_computed_weight() -> None:
    made = model(
        "(float[N,2,H,W] x) => (float[N,4,H,W] y) "
        "<float[8] flat, float[4,1,1,1] gain, int64[4] shape = {4, 2, 1, 1}> "
        "{ r = Reshape(flat, shape) w = Mul(r, gain) y = Conv(x, w) }"
    )
    module = assert_imports(made, (2, 2, 3, 3))
    assert set(module.parameter_names) == {"flat", "gain"}
    module(torch.ones(1, 2, 3, 3)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_weight_in_a_constant_node_is_a_parameter_and_goes_back() -> None:
    made = model(
        "(float[N,1,H,W] x) => (float[N,2,H,W] y) "
        "{ c_W = Constant<value = float[2,1,1,1] {2.0, 3.0}>() y = Conv(x, c_W) }"
    )
    module = assert_imports(made, (2, 1, 3, 3))
    with torch.no_grad():
        module.get_tensor("c.weight").fill_(7)
    back = write_back(module, made)
    assert [n.op_type for n in back.graph.node] == ["Constant", "Conv"]
    assert onnx.numpy_helper.to_array(back.graph.node[0].attribute[0].t).tolist() == [
        [[[7.0]]],
        [[[7.0]]],
    ]


def test_initializers_may_be_listed_as_inputs() -> None:
    made = model(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <float[4,4,1,1] c_W> { y = Conv(x, c_W) }",
        ir=3,
        opset=8,
    )
    listed = onnx.helper.make_tensor_value_info("c.weight", 1, [4, 4, 1, 1])
    made.graph.input.append(listed)
    module = import_onnx(made)
    assert module(torch.zeros(IMAGE)).shape == IMAGE


def test_half_precision_and_double_stay_what_they_are() -> None:
    for kind, dtype in [("float16", torch.float16), ("double", torch.float64)]:
        made = model(
            f"({kind}[N,4] x) => ({kind}[N,3] y) <{kind}[3,4] f_W> {{ y = Gemm<transB=1>(x, f_W) }}"
        )
        module = import_onnx(made)
        assert module.get_tensor("f.weight").dtype == dtype
        assert write_back(module, made).SerializeToString() == made.SerializeToString()


def test_head_and_backbone_parameters_follow_the_nodes() -> None:
    made = model(
        "(float[N,4,H,W] x) => (float[N,2,H,W] y) <float[4,4,1,1] a_W, float[2,4,1,1] b_W> "
        "{ h = Conv(x, a_W) y = Conv(h, b_W) }"
    )
    made.graph.node[1].metadata_props.add(key="fnac.part", value="head")
    module = import_onnx(made)
    assert module.head_parameters() == [module.get_parameter("b.weight")]
    assert module.backbone_parameters() == [module.get_parameter("a.weight")]


def test_unknown_metadata_survives_the_way_back() -> None:
    made = model("(float[N,4] x) => (float[N,3] y) <float[3,4] f_W> { y = Gemm<transB=1>(x, f_W) }")
    made.metadata_props.add(key="owner", value="somebody")
    made.graph.node[0].doc_string = "the only node"
    module = import_onnx(made)
    with torch.no_grad():
        module.get_tensor("f.weight").zero_()
    back = write_back(module, made)
    assert back.metadata_props[0].value == "somebody"
    assert back.graph.node[0].doc_string == "the only node"
    assert not onnx.numpy_helper.to_array(back.graph.initializer[0]).any()
    assert onnx.numpy_helper.to_array(made.graph.initializer[0]).any()  # the original is as it was


def test_writing_into_another_model_is_refused() -> None:
    text = "(float[N,4] x) => (float[N,3] y) <float[3,4] {}> {{ y = Gemm<transB=1>(x, {}) }}"
    module = import_onnx(model(text.format("f_W", "f_W")))
    with pytest.raises(PassFailedError, match=r"f\.weight: a weight of the module that the model"):
        write_back(module, model(text.format("g_W", "g_W")))


def test_wrapped_modules_are_unwrapped() -> None:
    module = import_onnx(model("(float[N,4] x) => (float[N,4] y) { y = Relu(x) }"))
    assert unwrapped(torch.compile(module)) is module
    with pytest.raises(TypeError, match="Linear holds no imported network"):
        unwrapped(nn.Linear(1, 1))


def test_floats_are_read_as_they_were_written() -> None:
    assert shortest(float(np.float32(1e-5))) == 1e-5
    assert complement(shortest(float(np.float32(0.9)))) == 0.1
    assert complement(shortest(float(np.float32(0.99)))) == 0.01


def test_registry_takes_the_largest_version_that_fits() -> None:
    def old(builder: object, node: object) -> None: ...
    def new(builder: object, node: object) -> None: ...

    converter("Op", 1, domain="test")(old)
    converter("Op", 13, domain="test")(new)
    assert find("Op", "test", 12, "n") is old
    assert find("Op", "test", 27, "n") is new
    with pytest.raises(ValueError, match="Op version 13 has two converters"):
        converter("Op", 13, domain="test")(new)
    with pytest.raises(UnsupportedGraphError, match="n: operator Op of domain 'other', version 1"):
        find("Op", "other", 1, "n")


def test_a_weight_standardized_by_batchnorm_trains() -> None:
    made = model(
        """(float[N,2,4,4] x) => (float[N,3,4,4] y)
        <float[3,2,1,1] w, float[3] gain, float[3] zero, float[3] mean, float[3] var,
         float two = {2}, int64[3] flat = {1,3,2}, int64[4] back = {3,2,1,1}>
        { scale = Mul(gain, two)
          v = Reshape(w, flat)
          s, m2, v2 = BatchNormalization<training_mode=1>(v, scale, zero, mean, var)
          u = Reshape(s, back)
          y = Conv(x, u) }"""
    )
    module = import_onnx(made).train()
    module(torch.randn(2, 2, 4, 4)).square().sum().backward()
    for name in ("w", "gain", "zero"):
        assert module.get_tensor(name).grad is not None, name


def test_statistics_that_the_graph_computes_of_a_weight_follow_it() -> None:
    """As the newer exporter writes a standardized weight: ReduceMean, then BN of inference."""
    made = model(
        """(float[N,2,4,4] x) => (float[N,3,4,4] y)
        <float[3,2,1,1] w, float[3] gain, float[3] zero,
         int64[3] flat = {1,3,2}, int64[4] back = {3,2,1,1}, int64[2] axes = {0,2}>
        { v = Reshape(w, flat)
          m = ReduceMean<keepdims=0>(v, axes) c = ReduceMean<keepdims=1>(v, axes)
          d = Sub(v, c) q = Mul(d, d) s2 = ReduceMean<keepdims=0>(q, axes)
          s = BatchNormalization(v, gain, zero, m, s2)
          u = Reshape(s, back)
          y = Conv(x, u) }"""
    )
    module = import_onnx(made)
    x = torch.randn(2, 2, 4, 4)
    before = module(x)
    with torch.no_grad():
        module.get_parameter("w").add_(3.0)  # standardized: the same outputs
    torch.testing.assert_close(module(x), before)
    module.train()(x).square().sum().backward()
    for name in ("w", "gain", "zero"):
        assert module.get_tensor(name).grad is not None, name


@pytest.mark.parametrize("name", ["in", "class", "None", "self", "_parameters", "training", "a.if"])
def test_names_that_python_has_another_use_for(name: str) -> None:
    """As a node, as an initializer that no module owns, and as the input."""
    made = model(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <float[4,4,1,1] w, float[4,1,1] m> "
        "{ a = Conv(x, w) y = Mul(a, m) }"
    )
    made.graph.node[0].name = name
    made.graph.node[1].input[1] = made.graph.initializer[1].name = name
    assert_imports(made, IMAGE)
    made.graph.node[1].input[1] = made.graph.initializer[1].name = "m"
    made.graph.input[0].name = made.graph.node[0].input[0] = name
    assert_imports(made, IMAGE)
