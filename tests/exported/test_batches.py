"""A batch of two gives two answers at every stage, or is refused there with the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fnac.errors import UnsupportedGraphError
from fnac.importer import import_onnx
from fnac.passes.graph import Graph
from fnac.stages.expand import ExpandSettings, expand
from fnac.stages.opening.pairs import check_pair
from tests.support.through_stages import CHANNELS, QUICK, SIZE, backbone, through
from tests.support.written_nets import NEWEST, Written

H, W = SIZE
FIXED = (1, 3, *SIZE)

Spelling = Callable[[Written, str], str]


def resized(mode: str, **attributes: object) -> Spelling:
    """Enlarge to stored sizes that hold the batch, or by stored scales before operator set 11."""

    def spelling(net: Written, x: str) -> str:
        if net.opset < 9:
            return str(net.op("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0], mode=mode))
        if net.opset < 11:
            kind = "Upsample" if net.opset == 9 else "Resize"
            return str(net.op(kind, x, net.keep([1, 1, 2, 2], np.float32), mode=mode))
        empty = net.keep([], np.float32)
        sizes = net.keep([1, CHANNELS, 2 * H, 2 * W])
        return str(net.op("Resize", x, empty, empty, sizes, mode=mode, **attributes))

    spelling.__name__ = "-".join(map(str, ("resized", mode, *attributes.values())))
    return spelling


def rows(net: Written, x: str) -> str:
    """A detector's rows of one image: the batch is a stored 1."""
    turned = net.op("Transpose", x, perm=[0, 2, 3, 1])
    return str(net.op("Reshape", turned, net.keep([1, H * W, CHANNELS])))


def shuffle(net: Written, x: str) -> str:
    """A channel shuffle of one image, as NanoDet and FastestDet store it."""
    parts = net.op("Reshape", x, net.keep([1, 2, CHANNELS // 2, H, W]))
    turned = net.op("Transpose", parts, perm=[0, 2, 1, 3, 4])
    return str(net.op("Reshape", turned, net.keep([1, CHANNELS, H, W])))


def halves_of_a_flat_shuffle(net: Written, x: str) -> str:
    """``x.reshape(b * c // 2, 2, h * w)``, and its halves apart (FastestDet, YOLO-FastestV2)."""
    parts = net.op("Reshape", x, net.keep([CHANNELS // 2, 2, H * W]))
    turned = net.op("Transpose", parts, perm=[1, 0, 2])
    both = net.op("Reshape", turned, net.keep([2, -1, CHANNELS // 2, H, W]))
    halves = [net.op("Gather", both, net.keep(k, np.int64), axis=0) for k in (0, 1)]
    return str(net.op("Concat", *halves, axis=1))


def flattened(net: Written, x: str) -> str:
    return str(net.op("Reshape", x, net.keep([1, -1])))


KEEPS: list[Spelling] = [
    resized("nearest"), resized("linear"),
    resized("nearest", coordinate_transformation_mode="half_pixel"),
    resized("linear", coordinate_transformation_mode="align_corners"),
    resized("cubic", cubic_coeff_a=-0.5),
    rows, shuffle, halves_of_a_flat_shuffle, flattened,
]  # fmt: skip


def columns(net: Written, x: str) -> str:
    """NanoDet for OpenCV: pixels of all images in one axis."""
    flat = net.op("Reshape", x, net.keep([CHANNELS, -1]))
    return str(net.op("Transpose", flat, perm=[1, 0]))


def joined(net: Written, x: str) -> str:
    """Two scales, one below the other along the batch."""
    return str(net.op("Concat", x, net.op("Neg", x), axis=0))


def over_images(net: Written, x: str) -> str:
    return str(net.op("Softmax", net.op("Relu", x), axis=0))


def flat_shuffle(net: Written, x: str) -> str:
    """Both halves of a shuffle in one go: half of every image comes before the other half."""
    parts = net.op("Reshape", x, net.keep([CHANNELS // 2, 2, H * W]))
    turned = net.op("Transpose", parts, perm=[1, 0, 2])
    return str(net.op("Reshape", turned, net.keep([1, CHANNELS, H, W])))


FOLDS: list[Spelling] = [columns, joined, over_images, flat_shuffle]


@pytest.mark.parametrize("place", range(len(KEEPS)), ids=lambda k: KEEPS[k].__name__)
def test_files_for_one_image_answer_two(place: int, tmp_path: Path) -> None:
    spelling = KEEPS[place]
    net = Written(FIXED, 11 if "resized" in spelling.__name__ else (9, 11, 13)[place % 3])
    through(net.model(spelling(net, backbone(net, "x"))), tmp_path, stages=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
@pytest.mark.parametrize("spelling", KEEPS, ids=lambda one: one.__name__)
def test_files_for_one_image_at_every_operator_set(
    spelling: Spelling, opset: int, tmp_path: Path
) -> None:
    if "cubic" in spelling.__name__ and opset < 11:
        pytest.skip("there is no cubic yet")
    net = Written(FIXED, opset)
    through(net.model(spelling(net, backbone(net, "x"))), tmp_path)


@pytest.mark.parametrize("opset", [7, 11, NEWEST])
@pytest.mark.parametrize("spelling", FOLDS, ids=lambda one: one.__name__)
def test_what_mixes_images_is_refused_with_the_node(spelling: Spelling, opset: int) -> None:
    net = Written(FIXED, opset)
    end = spelling(net, backbone(net, "x"))
    model = net.model(end)
    node = next(n.name for n in model.graph.node if end in n.output)
    named = [node, *(n.name for n in model.graph.node if n.op_type == "Reshape")]
    for stage in (
        lambda: check_pair(import_onnx(model), Graph.from_model(model)),  # tune's door
        lambda: expand(Graph.from_model(model), ExpandSettings()),
    ):
        with pytest.raises(UnsupportedGraphError) as told:
            stage()
        assert any(name in str(told.value) for name in named), told.value
