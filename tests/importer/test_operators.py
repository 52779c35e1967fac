"""Every converter family against onnxruntime, on graphs written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fnac.importer import import_onnx
from fnac.passes.errors import UnsupportedGraphError
from tests.support.importing import assert_close, assert_imports, model, run_ort, run_torch

IMAGE = (2, 4, 9, 10)
ONE_NODE = "(float[N,4,H,W] x) => (float[N,C,A,B] y) <{weights}> {{ {nodes} }}"


def graph(nodes: str, weights: str = "", opset: int = 18, **values: object):
    body = ONE_NODE.format(weights=weights, nodes=nodes)
    return model(body.replace("<> ", ""), opset=opset, values=values)


@pytest.mark.parametrize("opset", [9, 11, 18, 22])
@pytest.mark.parametrize(
    "attributes",
    [
        "pads=[1,1,1,1]",
        "pads=[0,0,1,1],strides=[2,2]",
        'auto_pad="SAME_UPPER",strides=[2,2]',
        'auto_pad="SAME_LOWER",strides=[2,3]',
        'auto_pad="SAME_LOWER"',
        'auto_pad="VALID"',
        "dilations=[2,1],pads=[2,0,1,3]",
    ],
)
def test_convolution(attributes: str, opset: int) -> None:
    made = graph(f"y = Conv<{attributes}>(x, c_W, c_B)", "float[6,4,3,2] c_W, float[6] c_B", opset)
    module = assert_imports(made, IMAGE)
    assert isinstance(module.get_submodule("c"), nn.Conv2d)
    assert module.parameter_names == {"c.weight": "c.weight", "c.bias": "c.bias"}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grouped_convolution_of_every_rank(rank: int) -> None:
    sizes = ",".join("789"[:rank])
    made = model(
        f"(float[2,4,{sizes}] x) => (float[2,8,{sizes}] y) "
        f"<float[8,2{',3' * rank}] c_W> "
        f"{{ y = Conv<group=2,pads=[{','.join('1' * 2 * rank)}]>(x, c_W) }}"
    )
    assert_imports(made, (2, 4, 7, 8, 9)[: rank + 2])


@pytest.mark.parametrize(
    "attributes",
    [
        "strides=[2,2],pads=[1,1,1,1],output_padding=[1,1]",
        "strides=[2,2],pads=[0,1,1,0]",
        'strides=[2,2],auto_pad="SAME_UPPER"',
        'strides=[2,2],auto_pad="SAME_LOWER"',
        "strides=[2,2],output_shape=[19,20]",
        "group=2,dilations=[2,1]",
    ],
)
def test_transposed_convolution(attributes: str) -> None:
    groups = 2 if "group" in attributes else 1
    weight = f"float[4,{6 // groups},3,3] c_W"
    made = graph(f"y = ConvTranspose<{attributes}>(x, c_W)", weight)
    assert_imports(made, IMAGE)


def test_batch_norm_reads_its_attributes_as_they_were_written() -> None:
    made = graph(
        "y = BatchNormalization<epsilon=1e-5,momentum=0.9>(x, b_W, b_B, mean, var)",
        "float[4] b_W, float[4] b_B, float[4] mean, float[4] var",
        var=[1, 2, 3, 0.5],
    )
    part = assert_imports(made, IMAGE).get_submodule("b")
    assert isinstance(part, nn.BatchNorm2d)
    assert (part.eps, part.momentum) == (1e-5, 0.1)


def test_computed_zero_bias_is_no_parameter() -> None:
    made = graph(
        "n = Shape<end=1>(c_W)\n zeros = Expand(zero, n)\n y = Conv(x, c_W, zeros)",
        "float[6,4,3,3] c_W, float zero = {0.0}",
    )
    module = assert_imports(made, IMAGE)
    assert [name for name, _ in module.named_parameters()] == ["c.weight"]


@pytest.mark.parametrize("opset", [6, 10, 11, 13])
def test_clip_of_every_version(opset: int) -> None:
    bounds = "<min=0.0,max=6.0>(x)" if opset < 11 else "(x, low, high)"
    weights = "" if opset < 11 else "float low = {0.0}, float high = {6.0}"
    module = assert_imports(graph(f"y = Clip{bounds}", weights, opset), IMAGE)
    assert isinstance(module.get_submodule("y"), nn.ReLU6)


@pytest.mark.parametrize(
    ("low", "high", "part"),
    [("0.0", "", nn.ReLU), ("-1.0", "0.5", nn.Hardtanh), ("", "0.5", None)],
)
def test_clip_becomes_the_part_it_is(low: str, high: str, part: type[nn.Module] | None) -> None:
    weights = ", ".join(f"float {n} = {{{v}}}" for n, v in [("lo", low), ("hi", high)] if v)
    made = graph(f"y = Clip(x, {'lo' if low else ''}, {'hi' if high else ''})", weights)
    module = assert_imports(made, IMAGE)
    assert [type(m) for m in module.children()] == ([part] if part else [])


@pytest.mark.parametrize(
    "call",
    [
        "Relu(x)",
        "LeakyRelu<alpha=0.1>(x)",
        "Elu(x)",
        "Selu(x)",
        "Sigmoid(x)",
        "HardSigmoid(x)",
        "HardSigmoid<alpha=0.16666667,beta=0.5>(x)",
        "HardSwish(x)",
        "Softplus(x)",
        "Softsign(x)",
        "Tanh(x)",
        "ThresholdedRelu<alpha=0.3>(x)",
        "Softmax<axis=1>(x)",
        "LogSoftmax<axis=-1>(x)",
        "Erf(x)",
        "Neg(x)",
        "Abs(x)",
        "Floor(x)",
        "GlobalAveragePool(x)",
        "GlobalMaxPool(x)",
        "LRN<size=3>(x)",
        "LpNormalization<axis=1>(x)",
        "MeanVarianceNormalization<axes=[0,2,3]>(x)",
        "ReduceMean<keepdims=1>(x, axes)",
        "ReduceSum<keepdims=0>(x, axes)",
        "ReduceMax(x, axes)",
        "ReduceL2(x, axes)",
        "ReduceLogSumExp(x, axes)",
        "ArgMax<axis=1,keepdims=0>(x)",
        "ArgMin<axis=-1>(x)",
        "Transpose<perm=[0,2,3,1]>(x)",
        "Flatten(x)",
        "Flatten<axis=2>(x)",
        "Dropout(x)",
        "Identity(x)",
        "Mul(x, wide)",
        "Add(wide, x)",
        "Sub(x, scalar)",
        "Div(scalar, x)",
        "Pow(x, two)",
        "PRelu(x, slope)",
        "MatMul(x, matrix)",
        "InstanceNormalization(x, channel, channel)",
        "Gather<axis=1>(x, picks)",
        "Slice(x, starts, ends, axes, steps)",
        "Pad(x, pads)",
        'Pad<mode="reflect">(x, pads)',
        'Pad<mode="edge">(x, pads)',
        "Expand(x, shape)",
        "Tile(x, repeats)",
        "Unsqueeze(x, axes)",
        "DepthToSpace<blocksize=2>(x)",
        'DepthToSpace<blocksize=2,mode="CRD">(x)',
        "Cast<to=6>(x)",
        "Reshape(x, target)",
        "Sum(x, wide, x)",
        "Max(x, wide)",
        "Where(mask, x, wide)",
        "Greater(x, wide)",
    ],
)
def test_operator(call: str) -> None:
    stored = {
        "axes": "int64[2] axes = {2, 3}",
        "wide": "float[4,1,1] wide",
        "scalar": "float scalar = {0.1}",
        "two": "float two = {2.0}",
        "slope": "float[4,1,1] slope",
        "matrix": "float[10,3] matrix",
        "channel": "float[4] channel",
        "picks": "int64[2] picks = {3, -4}",
        "starts": "int64[2] starts = {1, -1}",
        "ends": "int64[2] ends = {8, -9999}",
        "steps": "int64[2] steps = {2, -1}",
        "pads": "int64[8] pads = {0, 0, 1, 2, 0, 0, 3, 0}",
        "shape": "int64[5] shape = {3, 1, 1, 1, 1}",
        "repeats": "int64[4] repeats = {1, 2, 1, 1}",
        "target": "int64[3] target = {0, -1, 10}",
        "mask": "bool[4,1,1] mask = {1, 0, 0, 1}",
    }
    words = call.replace("(", " ").replace(",", " ").replace(")", " ").split()
    weights = ", ".join(stored[word] for word in dict.fromkeys(words[1:]) if word in stored)
    made = graph(f"y = {call}", weights)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    made.graph.output[0].type.tensor_type.elem_type = {
        "ArgMax": 7,
        "ArgMin": 7,
        "Cast": 6,
        "Greater": 9,
    }.get(made.graph.node[0].op_type, 1)
    shape = (2, 4, 9, 10)
    assert_imports(made, shape)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]",
        "kernel_shape=[3,3],strides=[2,2],pads=[0,0,1,1]",
        "kernel_shape=[2,3],strides=[2,2],ceil_mode=1",
        "kernel_shape=[3,3],strides=[2,3],pads=[1,0,1,2],ceil_mode=1",
        'kernel_shape=[3,2],strides=[2,2],auto_pad="SAME_UPPER"',
        'kernel_shape=[3,2],strides=[2,2],auto_pad="SAME_LOWER"',
        "kernel_shape=[2,2],dilations=[2,3]",
    ],
)
def test_pooling(kind: str, attributes: str) -> None:
    assert_imports(graph(f"y = {kind}<{attributes}>(x)", opset=19), IMAGE)


@pytest.mark.parametrize("pads", ["[1,1,1,1]", "[0,0,1,1]"])
def test_average_pool_counts_its_padding(pads: str) -> None:
    attributes = f"kernel_shape=[3,3],strides=[2,2],pads={pads},count_include_pad=1"
    assert_imports(graph(f"y = AveragePool<{attributes}>(x)"), IMAGE)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "where", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("target", ["scales", "sizes"])
def test_resize(mode: str, where: str, target: str) -> None:
    inputs = "x, , scales" if target == "scales" else "x, , , sizes"
    weights = (
        "float[4] scales = {1.0, 1.0, 2.0, 1.5}"
        if target == "scales"
        else "int64[4] sizes = {2, 4, 5, 17}"
    )
    extra = ',nearest_mode="floor"' if where == "asymmetric" else ""
    call = f'Resize<mode="{mode}",coordinate_transformation_mode="{where}"{extra}>({inputs})'
    assert_imports(graph(f"y = {call}", weights), IMAGE)


def test_resize_to_the_size_of_another_tensor() -> None:
    made = model(
        "(float[N,3,H,W] x, float[N,3,A,B] other) => (float[N,3,P,Q] y) { "
        "size = Shape<start=2,end=4>(other) "
        'y = Resize<axes=[2,3],mode="linear">(x, , , size) }'
    )
    assert_imports(made, (2, 3, 4, 5), (2, 3, 11, 7))


def test_shape_arithmetic_stays_in_python_and_serves_every_size() -> None:
    made = model(
        "(float[N,6,H,W] x) => (float[N,2,P,Q] y) "
        "<int64 zero = {0}, int64[1] first = {0}, int64[1] three = {3}, int64[1] rest = {-1}> { "
        "s = Shape(x) n = Gather(s, zero) m = Unsqueeze(n, first) k = Mul(m, three) "
        "d = Div(k, three) shape = Concat<axis=0>(d, three, rest) y = Reshape(x, shape) }"
    )
    made.graph.output[0].type.tensor_type.ClearField("shape")
    module = assert_imports(made, (2, 6, 4, 4))
    assert "tensor(" not in module.code
    assert module(torch.zeros(5, 6, 2, 3)).shape == (5, 3, 12)


def test_static_batch_of_one_takes_any_batch() -> None:
    made = model(
        "(float[1,4,3,3] x) => (float[1,36] y) <int64[2] shape = {1, 36}> { y = Reshape(x, shape) }"
    )
    module = assert_imports(made, (1, 4, 3, 3))
    assert module(torch.zeros(7, 4, 3, 3)).shape == (7, 36)


def test_split_concat_and_several_outputs() -> None:
    made = model(
        "(float[N,6,H,W] x) => (float[N,6,H,W] y, float[N,1,H,W] a) "
        "<int64[3] sizes = {1, 2, 3}> "
        "{ a, b, c = Split<axis=1>(x, sizes) y = Concat<axis=1>(c, a, b) }"
    )
    assert_imports(made, (2, 6, 3, 4), tolerance=0)


def test_gemm_is_linear_only_when_it_is_one() -> None:
    text = (
        "(float[N,5] x) => (float[N,3] y) <float[{shape}] f_W, float[3] f_B> "
        "{{ y = Gemm{kind}(x, f_W, f_B) }}"
    )
    plain = assert_imports(model(text.format(shape="3,5", kind="<transB=1>")), (2, 5))
    assert isinstance(plain.get_submodule("f"), nn.Linear)
    scaled = assert_imports(model(text.format(shape="5,3", kind="<alpha=0.5,beta=2.0>")), (2, 5))
    assert set(scaled.parameter_names) == {"f.weight", "f.bias"}


def test_top_k_keeps_the_order_of_equals() -> None:
    made = model(
        "(float[N,6] x) => (float[N,3] v, int64[N,3] i) <int64[1] k = {3}> { v, i = TopK(x, k) }"
    )
    feed = [np.array([[1, 5, 5, 0, 5, 2], [3, 3, 3, 3, 3, 3]], np.float32)]
    assert_close(run_torch(import_onnx(made), feed), run_ort(made, feed), 0)


def test_non_maximum_suppression() -> None:
    made = model(
        "(float[1,N,4] boxes, float[1,2,N] scores) => (int64[K,3] y) "
        "<int64[1] limit = {4}, float[1] overlap = {0.4}, float[1] least = {0.2}> "
        "{ y = NonMaxSuppression(boxes, scores, limit, overlap, least) }"
    )
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 8, (1, 30, 2)), rng.uniform(1, 4, (1, 30, 2))
    boxes = np.concatenate([corner, corner + size], -1).astype(np.float32)
    feed = [boxes, rng.uniform(0, 1, (1, 2, 30)).astype(np.float32)]
    assert_close(run_torch(import_onnx(made), feed), run_ort(made, feed), 0)


def test_constant_if_takes_the_branch_that_holds() -> None:
    made = model(
        "(float[N,4] x) => (float[N,4] y) <bool yes = {1}> { y = If(yes) <"
        "then_branch = a () => (float[N,4] t) { t = Relu(x) }, "
        "else_branch = b () => (float[N,4] e) { e = Neg(x) }> }"
    )
    assert_imports(made, (2, 4), tolerance=0)


def test_dropout_acts_in_train_mode_only() -> None:
    module = assert_imports(graph("y = Dropout(x)"), IMAGE, tolerance=0)
    x = torch.ones(2, 4, 9, 10)
    assert torch.equal(module(x), x)
    assert not torch.equal(module.train()(x), x)


@pytest.mark.parametrize("opset", [16, 20])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("outside", ["zeros", "border", "reflection"])
def test_sampling_at_computed_places(opset: int, mode: str, outside: str) -> None:
    if opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    places = np.random.default_rng(0).uniform(-1.3, 1.3, (2, 5, 6, 2)).astype(np.float32)
    for corners in (0, 1):
        attributes = f'mode="{mode}",padding_mode="{outside}",align_corners={corners}'
        made = graph(
            f"y = GridSample<{attributes}>(x, g)", "float[2,5,6,2] g", opset=opset, g=places
        )
        assert_imports(made, IMAGE)


def test_places_of_an_affine_transformation() -> None:
    made = graph(
        "g = AffineGrid(t, n) y = GridSample(x, g)",
        "float[2,2,3] t, int64[4] n = {2, 4, 5, 6}",
        opset=20,
    )
    assert_imports(made, IMAGE)


@pytest.mark.parametrize("nodes", ["Trilu<upper=0>(x, k)", "Trilu(x, k)", "Trilu(x)"])
def test_triangles(nodes: str) -> None:
    assert_imports(graph(f"y = {nodes}", "int64 k = {1}"), IMAGE)


@pytest.mark.parametrize("axis", [-1, 0, 2])
def test_one_hot_with_indices_from_the_end_and_outside(axis: int) -> None:
    made = graph(
        f"s = Mul(x, c) i = Cast<to=7>(s) y = OneHot<axis={axis}>(i, d, v)",
        "float c = {4}, int64 d = {5}, float[2] v = {-1, 3}",
    )
    assert_imports(made, IMAGE)


def test_bits_of_whole_numbers() -> None:
    made = graph(
        "s = Mul(x, c) i = Cast<to=6>(s) n = BitwiseNot(i) a = BitwiseAnd(i, m) "
        "o = BitwiseOr(n, a) e = BitwiseXor(o, m) y = Cast<to=1>(e)",
        "float c = {40}, int32 m = {21}",
    )
    assert_imports(made, IMAGE)


def test_unknown_operator_is_named_with_domain_version_and_node() -> None:
    made = graph("y = Relu(x)")
    made.graph.node[0].op_type, made.graph.node[0].name = "ReverseSequence", "mask"
    with pytest.raises(UnsupportedGraphError) as caught:
        import_onnx(made)
    assert str(caught.value) == (
        "mask: operator ReverseSequence of domain 'ai.onnx', version 18, is not supported; "
        "replace it, or export the network with standard operators"
    )
    assert caught.value.exit_code == 3


def test_operator_of_a_later_version_is_refused() -> None:
    with pytest.raises(UnsupportedGraphError, match=r"version 10, is from version 12 on"):
        import_onnx(graph("y = Celu(x)", opset=10))


def test_statistics_for_each_pixel_are_refused() -> None:
    made = graph("y = BatchNormalization<spatial=0>(x, s, s, s, s)", "float[4] s", opset=7)
    with pytest.raises(UnsupportedGraphError, match=r"y.*spatial=0, statistics for each pixel"):
        import_onnx(made)


def test_dangling_input_is_named() -> None:
    made = graph("h = Relu(x)\n y = Relu(h)")
    made.graph.node[1].input[0] = "nowhere"
    with pytest.raises(UnsupportedGraphError, match=r"y: its input 'nowhere' is computed nowhere"):
        import_onnx(made)


def test_node_that_contradicts_itself_is_named() -> None:
    made = graph("z = Reshape(two, shape)\n y = Mul(x, z)", "float[2] two, int64[1] shape = {3}")
    with pytest.raises(UnsupportedGraphError, match=r"z \(Reshape\): cannot be imported \(Runtime"):
        import_onnx(made)


def test_damaged_weight_is_named() -> None:
    made = graph("y = Conv(x, c_W)", "float[6,4,3,3] c_W")
    made.graph.initializer[0].raw_data = b"1234"
    with pytest.raises(UnsupportedGraphError, match=r"c\.weight: its values cannot be read"):
        import_onnx(made)


def test_the_comparison_fails_on_one_changed_weight() -> None:
    made = graph("y = Conv(x, c_W)", "float[6,4,3,3] c_W")
    module = import_onnx(made)
    feed = [np.ones(IMAGE, np.float32)]
    with torch.no_grad():
        module.get_tensor("c.weight")[0, 0, 0, 0] += 1e-3
    with pytest.raises(AssertionError):
        assert_close(run_torch(module, feed), run_ort(made, feed), 1e-5)
