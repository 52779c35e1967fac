"""What folds a batch away is refused, with the node; what computes each image is taken."""

from __future__ import annotations

import numpy as np
import pytest

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.normalize.make_batch_symbolic import MakeBatchSymbolic
from fnac.passes.prepare.follow_sizes import FollowSizes
from fnac.passes.running.batch import check_batch, why_not_two
from tests.support.written_nets import Written


def head(how: str, batch: int | str = "n") -> Graph:
    """Return six maps of a detector, and how its head makes rows of them."""
    net = Written((batch, 3, 8, 8), 17)
    maps = net.conv("x", 3, 6)
    rows = net.op("Transpose", maps, perm=[0, 2, 3, 1])
    match how:
        case "each image":
            end = net.op("Reshape", rows, net.keep([0, -1, 6]))
        case "two as one":  # rows of both, mixed with channels (NanoDet for OpenCV)
            end = net.op("Transpose", net.op("Reshape", maps, net.keep([6, -1])), perm=[1, 0])
        case "scales as one":  # rows of two scales, behind a shuffle (Yolo-FastestV2)
            split = net.op("Reshape", maps, net.keep([-1, 2, 64]))
            turned = net.op("Transpose", split, perm=[1, 0, 2])
            halves = net.op("Reshape", turned, net.keep([2, -1, 3, 8, 8]))
            half = net.op("Gather", halves, net.keep(0), axis=0)
            rows = net.op("Reshape", half, net.keep([-1, 64]))
            end = net.op("Concat", rows, net.op("Neg", rows), axis=0)
        case _:
            end = net.op("Reshape", rows, net.keep([1, 64, 6]))
    return Graph.from_model(net.model(end))


def test_a_network_that_computes_each_image_is_taken() -> None:
    check_batch(head("each image"))


def test_the_node_is_named_that_folds_for_good() -> None:
    """A shuffle of channels has no place for the batch either, and gives it back."""
    with pytest.raises(UnsupportedGraphError, match=r"^concat\d+ \(Concat\): two images"):
        check_batch(head("scales as one"))
    fixed = head("scales as one", batch=1)
    left = MakeBatchSymbolic().run(fixed).left["x"]
    assert left.startswith("concat")
    with pytest.raises(UnsupportedGraphError, match=r"cannot be freed: concat\d+ \(Concat\)"):
        check_batch(fixed, why_fixed=left)


@pytest.mark.parametrize("how", ["two as one", "one image"])
def test_what_folds_the_batch_is_refused_with_its_node(how: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=r"reshape\d+ \(Reshape\)|cannot run"):
        check_batch(head(how))


def test_a_batch_of_one_is_refused_and_one_that_can_be_freed_is_freed() -> None:
    graph = head("one image", batch=1)
    with pytest.raises(UnsupportedGraphError, match="its batch is fixed to 1"):
        check_batch(graph)
    MakeBatchSymbolic().run(graph)
    check_batch(graph)


@pytest.mark.parametrize("side", [8, 12])
def test_a_shuffle_over_three_dimensions_takes_batches_and_sizes(side: int) -> None:
    """``x.reshape(b * c // 2, 2, h * w)`` and back, stored (FastestDet, YOLO-FastestV2)."""
    net = Written((1, 3, 8, 8), 17)
    x = net.op("Reshape", net.conv("x", 3, 6), net.keep([3, 2, 64]))
    x = net.op("Transpose", x, perm=[1, 0, 2])
    x = net.op("Reshape", x, net.keep([2, -1, 3, 8, 8]))
    halves = [net.op("Gather", x, net.keep(k, np.int64), axis=0) for k in (0, 1)]
    graph = Graph.from_model(net.model(net.op("Concat", *halves, axis=1)))
    before = graph.copy()
    FollowSizes().run(graph)
    assert MakeBatchSymbolic().run(graph).left == {}
    assert why_not_two(before, graph) is None
    graph.inputs[0].shape = ["batch", 3, side, side]
    for output in graph.outputs:
        output.shape = None
    check_batch(graph)
