"""What networks hold besides usual nodes: norms, functions, made weights, other float types."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from fnac.importer import import_onnx
from tests.support.importing import assert_imports, model

IMAGE = (2, 4, 9, 10)


def image_to_image(nodes: str, weights: str = "", opset: int = 21) -> onnx.ModelProto:
    stored = f"<{weights}>" if weights else ""
    return model(f"(float[N,4,H,W] x) => (float[N,C,A,B] y) {stored} {{ {nodes} }}", opset=opset)


@pytest.mark.parametrize(
    ("nodes", "weights", "opset", "trained"),
    [
        ("t = Transpose<perm=[0,2,3,1]>(x) l = LayerNormalization(t, n_W, n_B)"
         "y = Transpose<perm=[0,3,1,2]>(l)", "float[4] n_W, float[4] n_B", 17, 2),
        ("y = LayerNormalization<axis=1,epsilon=1e-3>(x, n_W)", "float[4,9,10] n_W", 17, 1),
        ("y = GroupNormalization<num_groups=2>(x, n_W, n_B)", "float[4] n_W, float[4] n_B", 21, 2),
        ("y = InstanceNormalization(x, n_W, n_B)", "float[4] n_W, float[4] n_B", 18, 2),
        ("y = LpNormalization<axis=1,p=2>(x)", "", 18, 0),
        ("y = LpPool<kernel_shape=[3,2],strides=[2,1],p=2>(x)", "", 18, 0),
        ("y = GlobalLpPool<p=3>(x)", "", 18, 0),
        ("y = MeanVarianceNormalization(x)", "", 18, 0),
    ],
    ids=["layer", "whole", "group", "instance", "lp", "lp-pool", "lp-global", "mean-variance"],
)  # fmt: skip
def test_norms_and_pools(nodes: str, weights: str, opset: int, trained: int) -> None:
    module = assert_imports(image_to_image(nodes, weights, opset), IMAGE)
    assert len(module.parameter_names) == trained


def test_a_weight_made_by_constant_of_shape() -> None:
    made = image_to_image(
        "w = ConstantOfShape<value = float[1] {0.25}>(s) y = Conv<group=4>(x, w)",
        "int64[4] s = {4, 1, 3, 3}",
    )
    module = assert_imports(made, IMAGE)
    assert [tuple(p.shape) for p in module.parameters()] == [(4, 1, 3, 3)]


def test_a_local_function_is_opened() -> None:
    made = image_to_image("h = Conv(x, w) y = Relu(h)", "float[6,4,3,3] w")
    opsets = [helper.make_opsetid("", 21)]
    body = [
        helper.make_node("Conv", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    made.functions.append(helper.make_function("own", "ConvRelu", ["a", "b"], ["d"], body, opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    del made.graph.node[:]
    made.graph.node.append(helper.make_node("ConvRelu", ["x", "w"], ["y"], domain="own"))
    module = assert_imports(made, IMAGE)
    assert [tuple(p.shape) for p in module.parameters()] == [(6, 4, 3, 3)]


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT16", "DOUBLE"])
def test_a_network_of_another_float_type_is_trained_in_its_own(kind: str) -> None:
    number = getattr(onnx.TensorProto, kind)
    dtype = helper.tensor_dtype_to_np_dtype(number)
    weight = np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", number, ["N", 4, 9, 10])],
        [helper.make_tensor_value_info("y", number, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    module = import_onnx(made)
    torch_type = {
        "BFLOAT16": torch.bfloat16, "FLOAT16": torch.float16, "DOUBLE": torch.float64,
    }[kind]  # fmt: skip
    (parameter,) = module.parameters()
    assert parameter.dtype == torch_type
    x = torch.randn(2, 4, 9, 10, dtype=torch_type)
    y = module(x)
    wanted = torch.nn.functional.conv2d(
        x, torch.from_numpy(weight.astype(np.float64)).to(torch_type)
    ).relu()
    assert torch.equal(y, wanted)
    y.float().sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.abs().sum() > 0
