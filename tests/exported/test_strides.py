"""Strides are a pair: a stem halves however it is written; what is no square says so."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.errors import UnsupportedGraphError
from fnac.passes.blocks.tensor_strides import stride_pairs
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.normalize.pipeline import PIPELINE
from fnac.stages.expand import ExpandSettings, expand
from tests.support.written_nets import NEWEST, Written

SIDE = 64
HALVING = ("convolution", "pool", "space to depth", "slices", "scales", "sizes")
OPSETS = (9, 11, 13, 18, NEWEST)


def halved(net: Written, how: str) -> tuple[str, int]:
    """Halve the image as exporters do at every operator set; return the tensor, its channels."""
    match how:
        case "convolution":
            return net.conv("x", 3, 12, s=2), 12
        case "pool":
            return str(net.op("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])), 3
        case "space to depth":
            return str(net.op("SpaceToDepth", "x", blocksize=2)), 12
        case "slices":  # YOLOv5's Focus; before operator set 10 a Slice has no steps
            if net.opset < 10:
                return net.conv("x", 3, 12, s=2), 12

            def part(x: str, start: int, axis: int) -> str:
                numbers = ([start], [2**31], [axis], [2])
                return str(net.op("Slice", x, *(net.keep(n) for n in numbers)))

            parts = [part(part("x", a, 2), b, 3) for a in (0, 1) for b in (0, 1)]
            return str(net.op("Concat", *parts, axis=1)), 12
        case "scales":
            scales = net.keep([1, 1, 0.5, 0.5], np.float32)
            if net.opset < 11:
                kind = "Resize" if net.opset == 10 else "MaxPool"
                if kind == "MaxPool":
                    return halved(net, "pool")
                return str(net.op(kind, "x", scales)), 3
            return str(net.op("Resize", "x", net.keep([], np.float32), scales)), 3
    if net.opset < 11:
        return halved(net, "pool")
    empty = net.keep([], np.float32)
    return str(net.op("Resize", "x", empty, empty, net.keep([1, 3, SIDE // 2, SIDE // 2]))), 3


def network(how: str, opset: int, across: int = 2, deep: int = 3) -> Graph:
    """Return a network that a head can be put on: a stem, and ``deep`` blocks that halve again."""
    net = Written((1, 3, SIDE, SIDE), opset)

    def layer(
        x: str, *shape: int, act: bool = True, g: int = 1, s: tuple[int, int] = (1, 1)
    ) -> str:
        o, i, k = shape
        made = net.op("Conv", x, net.weight(o, i, k, k), net.weight(o), kernel_shape=[k, k],
                      pads=[k // 2] * 4, group=g, strides=list(s))  # fmt: skip
        return str(net.op("Relu", made) if act else made)

    x, channels = halved(net, how)
    x = layer(x, 8, channels, 3)
    for _ in range(deep):
        for step in ((2, across), (1, 1)):
            wide = layer(layer(x, 24, 8, 1), 24, 1, 3, g=24, s=step)
            narrow = layer(wide, 8, 24, 1, act=False)
            x = narrow if step != (1, 1) else str(net.op("Add", narrow, x))
    return Graph.from_model(net.model(x))


def sweep(how: str, opset: int) -> None:
    graph = network(how, opset)
    PassManager(verify=False).run(PIPELINE, graph)
    graph.refresh_shapes()
    assert stride_pairs(graph)[id(graph.outputs[0])] == (16, 16)
    made = expand(network(how, opset), ExpandSettings(task="seg", classes=3, output_stride=16))
    assert list(made.outputs[0].shape)[1:] == [3, SIDE, SIDE]


@pytest.mark.parametrize(("how", "opset"), [("slices", 11), ("scales", 13), ("sizes", 18)])
def test_a_head_is_put_on_features_of_the_stride_that_was_asked_for(how: str, opset: int) -> None:
    sweep(how, opset)


@pytest.mark.slow
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("how", HALVING)
def test_at_every_operator_set(how: str, opset: int) -> None:
    sweep(how, opset)


@pytest.mark.parametrize("task", ["det", "pose"])
@pytest.mark.parametrize("opset", [9, 13, NEWEST])
def test_a_head_of_square_cells_says_so_before_it_is_attached(task: str, opset: int) -> None:
    """Text recognisers halve the height alone."""
    with pytest.raises(UnsupportedGraphError, match=r"down and \d+ across"):
        expand(
            network("convolution", opset, across=1, deep=4), ExpandSettings(task=task, classes=2)
        )
