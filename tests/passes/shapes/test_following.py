"""A size in every spelling, at every operator set: known is what onnxruntime makes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from fnac.passes.graph import Graph
from fnac.passes.normalize.fold_shape_arithmetic import FoldShapeArithmetic
from fnac.passes.shapes.sized_shapes import known_at
from tests.support.graphs import applied
from tests.support.written_nets import NEWEST, Written

OPSETS = range(7, NEWEST + 1)


def view(net: Written, x: str) -> str:
    """``x.view(x.size(0), -1)``."""
    target = net.op("Concat", net.unsqueeze(net.size(x, 0)), net.keep([-1]), axis=0)
    return str(net.op("Reshape", x, target))


def flattened_by_product(net: Written, x: str) -> str:
    """``x.view(x.size(0), c * h * w)``."""
    product = net.op("Mul", net.op("Mul", net.size(x, 1), net.size(x, 2)), net.size(x, 3))
    target = net.op("Concat", net.unsqueeze(net.size(x, 0)), net.unsqueeze(product), axis=0)
    return str(net.op("Reshape", x, target))


def shuffle(net: Written, x: str) -> str:
    """A channel shuffle all of whose numbers are read from the shape, the halves by a division."""
    b, c, h, w = (net.size(x, axis) for axis in range(4))
    half = net.op("Div", c, net.keep(2, np.int64))
    five = [net.unsqueeze(n) for n in (b, net.op("Div", c, half), half, h, w)]
    parts = net.op("Reshape", x, net.op("Concat", *five, axis=0))
    turned = net.op("Transpose", parts, perm=[0, 2, 1, 3, 4])
    four = [net.unsqueeze(b), net.keep([-1]), net.unsqueeze(h), net.unsqueeze(w)]
    return str(net.op("Reshape", turned, net.op("Concat", *four, axis=0)))


def shape_in_pieces(net: Written, x: str) -> str:
    """The shape is cut by a node of several outputs."""
    shape = net.op("Shape", x)
    if net.opset < 13:
        front, back = net.op("Split", shape, outputs=2, axis=0, split=[2, 2])
    else:
        front, back = net.op("Split", shape, net.keep([2, 2]), outputs=2, axis=0)
    doubled = net.op("Mul", front, net.keep([1, 1]))
    return str(net.op("Reshape", x, net.op("Concat", doubled, back, axis=0)))


def enlarged_to_a_size(net: Written, x: str) -> str:
    """``F.interpolate(pool(x), size=x.shape[2:])``, by scales up to operator set 9."""
    small = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    if net.opset < 9:
        return str(net.op("Upsample", small, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"))
    if net.opset == 9:
        cast = [net.op("Cast", net.slice(net.op("Shape", t), 2, 4), to=1) for t in (x, small)]
        ratio = net.op("Div", *cast)
        scales = net.op("Concat", net.keep([1, 1], np.float32), ratio, axis=0)
        return str(net.op("Upsample", small, scales, mode="nearest"))
    if net.opset == 10:
        return str(net.op("Resize", small, net.keep([1, 1, 2, 2], np.float32), mode="nearest"))
    ends = net.slice(net.op("Shape", small), 0, 2), net.slice(net.op("Shape", x), 2, 4)
    empty = net.keep([], np.float32)
    sizes = net.op("Concat", *ends, axis=0)
    return str(net.op("Resize", small, empty, empty, sizes, mode="nearest"))


def floor_of_scaled(net: Written, x: str) -> str:
    """Sizes that go through floats: ``int(h * 0.5)``."""
    half = net.op("Mul", net.op("Cast", net.size(x, 2), to=1), net.keep(0.5, np.float32))
    h = net.op("Cast", net.op("Floor", half), to=7)
    sides = [net.unsqueeze(n) for n in (net.size(x, 0), net.size(x, 1), h)]
    return str(net.op("Reshape", x, net.op("Concat", *sides, net.keep([-1]), axis=0)))


def filled(net: Written, x: str) -> str:
    """Zeros as large as what they are added to."""
    if net.opset == 7:
        return str(net.op("Add", x, x))  # there is no Expand yet
    if net.opset == 8:
        return str(net.op("Expand", net.keep([[[[1]]]], np.float32), net.op("Shape", x)))
    value = onnx.helper.make_tensor("v", 1, [1], [1.0])
    return str(net.op("ConstantOfShape", net.op("Shape", x), value=value))


SPELLINGS: list[Callable[[Written, str], str]] = [
    view, flattened_by_product, shuffle, shape_in_pieces, enlarged_to_a_size, floor_of_scaled,
    filled,
]  # fmt: skip


def network(spelling: Callable[[Written, str], str], opset: int, nodes: bool) -> onnx.ModelProto:
    """Return a convolution, the spelling of a size, and something that keeps its shape."""
    net = Written(("n", 3, "h", "w"), opset, nodes)
    return net.model(net.op("Relu", spelling(net, net.conv("x", 3, 4))))


def shape_in_onnxruntime(model: onnx.ModelProto, *sides: int) -> tuple[int, ...]:
    """Return the shape of the first output for zeros of this shape."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return tuple(session.run(None, {"x": np.zeros(sides, np.float32)})[0].shape)


@pytest.mark.parametrize("nodes", [False, True], ids=["initializers", "constant-nodes"])
@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_every_operator_set_gives_the_shape_that_onnxruntime_makes(
    spelling: Callable[[Written, str], str], nodes: bool
) -> None:
    for opset in OPSETS:
        model = network(spelling, opset, nodes)
        graph = Graph.from_model(model)
        right = shape_in_onnxruntime(model, 1, 3, 16, 24)
        found = known_at(graph, (16, 24), batch=1).shapes[graph.outputs[0].name]
        assert found == right, f"operator set {opset}"


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_the_batch_stays_the_symbol_that_it_is(spelling: Callable[[Written, str], str]) -> None:
    for opset in OPSETS:
        graph = Graph.from_model(network(spelling, opset, nodes=False))
        found = known_at(graph, (16, 24)).shapes[graph.outputs[0].name]
        assert found[0] == "n", f"operator set {opset}: {found}"
        assert all(isinstance(d, int) for d in found[1:]), f"operator set {opset}: {found}"


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_what_is_folded_computes_the_same_at_every_size(
    spelling: Callable[[Written, str], str], opset: int
) -> None:
    model = network(spelling, opset, nodes=False)
    graph, _ = applied(FoldShapeArithmetic(), Graph.from_model(model))
    after = graph.to_model()
    for sides in ((1, 3, 16, 24), (2, 3, 32, 8)):
        assert shape_in_onnxruntime(after, *sides) == shape_in_onnxruntime(model, *sides)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
def test_an_attribute_that_an_operator_has_not_hides_no_shape(opset: int) -> None:
    """Old exporters write some; behind a shape that ONNX does not follow, too."""
    model = network(view, opset, nodes=False)
    plain = known_at(Graph.from_model(model), (16, 24), batch=1).shapes
    for node in model.graph.node:
        node.attribute.add(name="written_by", type=onnx.AttributeProto.INT, i=1)
    found = known_at(Graph.from_model(model), (16, 24), batch=1).shapes
    assert found == plain
