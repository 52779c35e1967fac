"""Strides are those of features, down and across, however a network makes them smaller."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.blocks.tensor_strides import stride_pairs, why_not_square
from fnac.passes.graph import Graph
from tests.support.written_nets import Written


def halved(net: Written, how: str) -> str:
    match how:
        case "convolution":
            return net.conv("x", 3, 4, s=2)
        case "space to depth":
            return str(net.op("SpaceToDepth", "x", blocksize=2))
        case "slices":

            def part(x: str, start: int, axis: int) -> str:
                numbers = ([start], [2**31], [axis], [2])
                return str(net.op("Slice", x, *(net.keep(n) for n in numbers)))

            return str(
                net.op(
                    "Concat", *(part(part("x", a, 2), b, 3) for a in (0, 1) for b in (0, 1)), axis=1
                )
            )
        case "scales":
            return str(net.op("Resize", "x", "", net.keep([1, 1, 0.5, 0.5], np.float32)))
        case "sizes":
            return str(net.op("Resize", "x", "", "", net.keep([1, 3, 16, 16])))
        case "slices without axes":
            numbers = ([0, 0, 1, 1], [2**31] * 4)
            ends = (net.keep(n) for n in numbers)
            return str(net.op("Slice", "x", *ends, "", net.keep([1, 1, 2, 2])))
        case "rows gathered":
            rows = net.op("Gather", "x", net.keep(range(1, 32, 2)), axis=2)
            return str(net.op("Gather", rows, net.keep(range(0, 32, 2)), axis=3))
        case "patches averaged":
            cut = net.op("Reshape", "x", net.keep([0, 3, 16, 2, 16, 2]))
            return str(net.op("ReduceMean", cut, axes=[3, 5], keepdims=0))
        case "sizes that are computed":
            sides = net.op("Slice", net.op("Shape", "x"), *(net.keep(n) for n in ([2], [4], [0])))
            half = net.op("Div", sides, net.keep([2]))
            first = net.op("Slice", net.op("Shape", "x"), *(net.keep(n) for n in ([0], [2], [0])))
            return str(net.op("Resize", "x", "", "", net.op("Concat", first, half, axis=0)))
    cut = net.op("Reshape", "x", net.keep([0, 3, 16, 2, 16, 2]))
    turned = net.op("Transpose", cut, perm=[0, 1, 3, 5, 2, 4])
    return str(net.op("Reshape", turned, net.keep([0, 12, 16, 16])))


HALVED = (
    "convolution", "space to depth", "slices", "slices without axes", "scales", "sizes",
    "sizes that are computed", "patches", "patches averaged", "rows gathered",
)  # fmt: skip


@pytest.mark.parametrize("first", [1, "N"])
@pytest.mark.parametrize("how", HALVED)
def test_a_stem_halves_however_it_is_written(how: str, first: int | str) -> None:
    net = Written((first, 3, 32, 32), 17)
    graph = Graph.from_model(net.model(net.op("Relu", halved(net, how))))
    graph.refresh_shapes()
    assert stride_pairs(graph)[id(graph.outputs[0])] == (2, 2)
    assert why_not_square(graph, graph.outputs) is None


@pytest.mark.parametrize("how", ["computed patches", "sizes that are computed", "slices"])
def test_a_stem_halves_images_of_any_size(how: str) -> None:
    net = Written(("N", 3, "H", "W"), 17)
    if how == "computed patches":
        shape = net.op("Shape", "x")
        side = [net.op("Slice", shape, *map(net.keep, ([k], [k + 1], [0]))) for k in (2, 3)]
        half = [net.op("Div", one, net.keep([2])) for one in side]
        first, two = net.keep([-1, 3]), net.keep([2])
        target = net.op("Concat", first, half[0], two, half[1], two, axis=0)
        turned = net.op("Transpose", net.op("Reshape", "x", target), perm=[0, 1, 3, 5, 2, 4])
        target = net.op("Concat", net.keep([-1, 12]), *half, axis=0)
        end = net.op("Reshape", turned, target)
    else:
        end = halved(net, how)
    graph = Graph.from_model(net.model(net.op("Relu", end)))
    graph.refresh_shapes()
    assert stride_pairs(graph)[id(graph.outputs[0])] == (2, 2)


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceMax"])
def test_strips_that_are_pooled_have_no_stride(kind: str) -> None:
    net = Written((1, 3, 32, 32), 17)
    small = net.conv("x", 3, 4, s=2)
    rows = net.op(kind, small, axes=[3], keepdims=1)
    columns = net.op(kind, small, axes=[2], keepdims=1)
    gate = net.op("Sigmoid", net.op("Mul", rows, columns))
    graph = Graph.from_model(net.model(net.op("Mul", small, gate)))
    graph.refresh_shapes()
    assert stride_pairs(graph)[id(graph.outputs[0])] == (2, 2)


def test_rows_that_are_halved_alone_are_no_square() -> None:
    net = Written((1, 3, 32, 32), 17)
    end = net.op("Conv", "x", net.weight(4, 3, 3, 3), strides=[2, 1], pads=[1] * 4)
    graph = Graph.from_model(net.model(end))
    why = why_not_square(graph, graph.outputs)
    assert why is not None
    assert why.endswith("its stride is 2 down and 1 across")


def test_what_is_enlarged_keeps_the_stride_that_it_was_made_of() -> None:
    net = Written((1, 3, 32, 32), 17)
    small = net.conv("x", 3, 4, s=2)
    end = net.op("Resize", small, "", net.keep([1, 1, 2, 2], np.float32))
    graph = Graph.from_model(net.model(end))
    assert stride_pairs(graph)[id(graph.outputs[0])] == (2, 2)
