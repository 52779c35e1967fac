"""Height and width are where the layout says: channels last, however the network turns them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.layout import FIRST, LAST, image_axes
from fnac.passes.manager import PassManager
from fnac.passes.normalize.pipeline import PIPELINE
from fnac.passes.prepare.make_channels_first import MakeChannelsFirst
from fnac.passes.running.run import probe_size, random_feed
from fnac.passes.running.verify import compare
from tests.support.written_nets import NEWEST, Written

SPELLINGS = ["turned", "cast", "normalised", "by shape"]


def network(spelling: str, opset: int, shape: tuple[int | str, ...]) -> onnx.ModelProto:
    """Return channels-last convolutions, as tf2onnx writes a Keras network."""
    net = Written(shape, opset)
    x = "x"
    if spelling == "cast":
        x = net.op("Cast", x, to=1)
    if spelling == "normalised":
        x = net.op("Sub", net.op("Div", x, net.keep(127.5, np.float32)), net.keep([1], np.float32))
    if spelling == "by shape":  # it is read by something else first
        x = net.op("Relu", x)
    x = net.op("Transpose", x, perm=[0, 3, 1, 2])
    return net.model(net.conv(net.op("Relu", net.conv(x, 3, 4, s=2)), 4, 2))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_size_is_the_pictures_size(spelling: str) -> None:
    for opset in (7, 9, 11, 13, 17, NEWEST):
        fixed = Graph.from_model(network(spelling, opset, (1, 32, 64, 3)))
        free = Graph.from_model(network(spelling, opset, ("n", "h", "w", 3)))
        assert (fixed.image_size(), free.image_size()) == ((32, 64), None)
        assert profile(fixed, (64, 64)).madds == 2 * profile(fixed).madds
        assert profile(free, (32, 64)).madds == profile(fixed).madds
        assert random_feed(free, (40, 48))["x"].shape == (2, 40, 48, 3)
        assert random_feed(fixed)["x"].shape == (1, 32, 64, 3)
        assert probe_size(fixed) == (32, 64)
        PassManager().run(PIPELINE, free)
        assert image_axes(free.inputs[0]) == LAST


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_a_network_that_was_turned_is_fed_the_same_pictures(opset: int) -> None:
    before = Graph.from_model(network("turned", opset, (1, 32, 64, 3)))
    after = PassManager().run([MakeChannelsFirst()], before.copy())
    assert image_axes(after.inputs[0]) == FIRST
    assert compare(before, after).equal
    assert compare(after, before).equal
    conv = next(node for node in after.nodes if node.op == "Conv")
    conv.inputs[1].values = conv.inputs[1].values * 2
    assert not compare(before, after).equal


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 3, 32, 32), FIRST),
        ((1, "c", "h", 3), LAST),
        ((1, 1, 28, 1), FIRST),
        ((1, 5, 7, 3), LAST),
    ],
)
def test_without_a_word_from_the_graph_colours_are_few(
    shape: tuple[int | str, ...], axes: tuple[int, int]
) -> None:
    net = Written(shape, 17)
    assert image_axes(Graph.from_model(net.model(net.op("Relu", "x"))).inputs[0]) == axes


def test_what_a_convolution_reads_has_its_channels_first() -> None:
    net = Written((1, 7, 9, 3), 17)  # seven channels, nine rows, three columns
    model = net.model(net.conv("x", 7, 4))
    assert image_axes(Graph.from_model(model).inputs[0]) == FIRST


def test_a_side_that_the_file_fixes_stays_where_the_other_is_free() -> None:
    net = Written(("n", 3, 48, "w"), 17)  # a text recogniser: 48 rows, as long as the line
    graph = Graph.from_model(net.model(net.conv("x", 3, 4)))
    assert random_feed(graph)["x"].shape[2] == 48
