"""Old operators mean what they meant: raise-opset from every operator set, in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.normalize.raise_opset import RaiseOpset
from tests.support.written_nets import Written, answers

Spelling = Callable[[Written, str], str]


def resized(mode: str, factor: float) -> Spelling:
    def spelling(net: Written, x: str) -> str:
        factors = [1.0, 1.0, factor, factor]
        if net.opset < 9:
            return str(net.op("Upsample", x, scales=factors, mode=mode))
        scales = net.keep(factors, np.float32)
        if net.opset < 11:
            return str(net.op("Upsample" if net.opset == 9 else "Resize", x, scales, mode=mode))
        return str(net.op("Resize", x, net.keep([], np.float32), scales, mode=mode))

    spelling.__name__ = f"{mode}-{factor:g}"
    return spelling


def normalised_rows(net: Written, x: str) -> str:
    """BatchNormalization behind a view whose rank ONNX does not see before operator set 13."""
    rows = net.op(
        "Reshape", x, net.op("Concat", net.unsqueeze(net.size(x, 0)), net.keep([-1]), axis=0)
    )
    ones, zeros = net.keep(np.ones(256), np.float32), net.keep(np.zeros(256), np.float32)
    return str(net.op("BatchNormalization", rows, ones, zeros, zeros, ones))


def rows_and_gemm(net: Written, x: str) -> str:
    """A linear layer; up to operator set 10 it has a bias."""
    rows = net.op("Flatten", x)
    bias = [net.weight(5)] if net.opset < 11 else []
    return str(net.op("Gemm", rows, net.weight(5, 256), *bias, transB=1))


def softmax(net: Written, x: str) -> str:
    """Before operator set 13, over all axes from the second on."""
    return str(net.op("Softmax", x))


def bounded(net: Written, x: str) -> str:
    if net.opset < 11:
        return str(net.op("Clip", x, min=-0.5, max=0.5))
    return str(net.op("Clip", x, net.keep(-0.5, np.float32), net.keep(0.5, np.float32)))


def padded(net: Written, x: str) -> str:
    pads = [0, 0, 1, 1, 0, 0, 1, 1]
    if net.opset < 11:
        return str(net.op("Pad", x, pads=pads, mode="reflect"))
    return str(net.op("Pad", x, net.keep(pads), mode="reflect"))


def split(net: Written, x: str) -> str:
    if net.opset < 13:
        return str(net.op("Split", x, outputs=2, axis=1, split=[1, 3])[1])
    return str(net.op("Split", x, net.keep([1, 3]), outputs=2, axis=1)[1])


def mean(net: Written, x: str) -> str:
    if net.opset < 18:
        return str(net.op("ReduceMean", x, axes=[2, 3], keepdims=0))
    return str(net.op("ReduceMean", x, net.keep([2, 3]), keepdims=0))


def dropped(net: Written, x: str) -> str:
    return str(net.op("Dropout", x))


SPELLINGS: list[Spelling] = [
    *(resized(mode, factor) for mode in ("nearest", "linear") for factor in (2, 1.5, 2.5)),
    normalised_rows, rows_and_gemm, softmax, bounded, padded, split, mean, dropped,
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda one: one.__name__)
def test_raising_the_operator_set_changes_no_answer(spelling: Spelling) -> None:
    feed = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    for opset in range(7, 18):
        net = Written((1, 3, 8, 8), opset)
        model = net.model(net.op("Relu", spelling(net, net.conv("x", 3, 4))))
        graph = Graph.from_model(model)
        manager = PassManager()
        manager.run([RaiseOpset()], graph)
        assert graph.opset == 18, f"operator set {opset}: {manager.ledger[0].report.left}"
        np.testing.assert_allclose(
            answers(graph.to_model(), feed)[0], answers(model, feed)[0], rtol=1e-5, atol=1e-5,
            err_msg=f"operator set {opset}",
        )  # fmt: skip


def test_a_resize_of_the_operator_set_that_says_where_it_looks_is_left() -> None:
    net = Written((1, 3, 8, 8), 11)
    scales = net.keep([1, 1, 2, 2], np.float32)
    resize = net.op("Resize", "x", net.keep([], np.float32), scales, mode="linear")
    graph = Graph.from_model(net.model(resize))
    RaiseOpset().run(graph)
    node = next(n for n in graph.nodes if n.op == "Resize")
    assert node.attrs.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    assert isinstance(graph.to_model(), onnx.ModelProto)
