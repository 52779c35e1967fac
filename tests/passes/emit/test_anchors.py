from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from fnac.models.heads.anchors import ssdlite_anchors
from fnac.passes.emit.anchors import AnchorSpec, anchor_boxes, decode_boxes
from fnac.passes.errors import UnsupportedGraphError

STRIDES = (8, 16, 32, 64, 128)
SSD_STRIDES = (16, 32, 64, 320 / 3, 160, 320)


def cells(stride: float, *boxes: tuple[float, float]) -> dict[str, Any]:
    return {"stride": stride, "boxes": [list(box) for box in boxes]}


@pytest.mark.parametrize("size", [(256, 256), (256, 384), (128, 640)])
def test_retinanet_anchors_are_torchvisions(size: tuple[int, int]) -> None:
    # whole sides, because torchvision rounds them; its centres stand on the cells' corners
    sizes = tuple((4 * s, 6 * s) for s in STRIDES)
    generator = AnchorGenerator(sizes, (((0.25, 1.0, 4.0)),) * 5)
    levels = [cells(s, *((w * k * s, h * k * s) for w, h in ((2, 0.5), (1, 1), (0.5, 2))
                         for k in (4, 6))) for s in STRIDES]  # fmt: skip
    maps = [torch.zeros(1, 1, math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in STRIDES]
    wanted = generator(ImageList(torch.zeros(1, 3, *size), [size]), maps)[0]
    found = anchor_boxes({"levels": levels, "centre": 0}, size)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.numpy())


def test_ssdlite_anchors_are_torchvisions() -> None:
    generator = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95, clip=False)
    levels = [
        cells(s, *((320 * w, 320 * h) for w, h in pairs.tolist()))
        for s, pairs in zip(SSD_STRIDES, generator._wh_pairs, strict=True)
    ]
    spec = AnchorSpec.read({"levels": levels})
    assert spec.cells((320, 320)) == [(n, n) for n in (20, 10, 5, 3, 2, 1)]
    maps = [torch.zeros(1, 1, *side) for side in spec.cells((320, 320))]
    wanted = generator(ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)]), maps)[0]
    # float32 against float64 arithmetic: two roundings of numbers up to 512
    np.testing.assert_allclose(anchor_boxes(spec, (320, 320)), wanted.numpy(), rtol=0, atol=6e-5)
    assert spec.count((320, 320)) == len(wanted) == 6 * (400 + 100 + 25 + 9 + 4 + 1)


def test_levels_are_halved_with_rounding_up() -> None:
    spec = AnchorSpec.read({"levels": [cells(s, (s, s)) for s in STRIDES]})
    assert spec.cells((800, 1088)) == [(100, 136), (50, 68), (25, 34), (13, 17), (7, 9)]
    assert spec.cells((100, 20)) == [(13, 3), (7, 2), (4, 1), (2, 1), (1, 1)]


def test_the_order_is_level_row_column_anchor() -> None:
    levels = [cells(8, (2, 4), (4, 2)), {"stride": [16, 8], "boxes": [[8, 8]]}]
    found = anchor_boxes({"levels": levels}, (16, 16))
    assert found.tolist() == [
        [3, 2, 5, 6], [2, 3, 6, 5], [11, 2, 13, 6], [10, 3, 14, 5],
        [3, 10, 5, 14], [2, 11, 6, 13], [11, 10, 13, 14], [10, 11, 14, 13],
        [0, 4, 8, 12], [8, 4, 16, 12],
    ]  # fmt: skip


def test_decoding_is_torchvisions() -> None:
    spec = AnchorSpec.read(
        {"levels": [cells(8, (12, 20), (30, 9))], "box_std": [0.1, 0.1, 0.2, 0.2]}
    )
    anchors = anchor_boxes(spec, (64, 48))
    deltas = np.random.default_rng(0).normal(0, 4, (3, len(anchors), 4)).astype(np.float32)
    deltas[0, 0] = 1e4
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    for row in deltas:
        wanted = coder.decode_single(torch.from_numpy(row), torch.from_numpy(anchors))
        wanted = clip_boxes_to_image(wanted, (64, 48))
        # x0.1 against /10, then exp: a few roundings of numbers up to 1000 before the clip
        found = decode_boxes(row, anchors, spec, (64, 48))
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "m.onnx: anchors: found None; wanted an object with levels, scores, box_std"),
        ({"levels": []}, "m.onnx: anchors: levels []; wanted a list, finest level first"),
        ({"levels": [cells(8, (1, 1))], "scores": "max"},
         "m.onnx: anchors: scores 'max'; wanted sigmoid or softmax"),
        ({"levels": [cells(8, (1, 1))], "box_std": [1, 1]},
         "m.onnx: anchors.box_std: found [1, 1]; wanted 4 numbers"),
        ({"levels": [{"stride": None, "boxes": [[1, 1]]}]},
         "m.onnx: anchors.levels[0].stride: found [None, None]; wanted 2 numbers"),
        ({"levels": [cells(8, (0, 1))]},
         "m.onnx: anchors.levels[0]: found {'stride': 8, 'boxes': [[0, 1]]}; wanted strides and "
         "sides above 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(stored: object, message: str) -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        AnchorSpec.read(stored, "m.onnx")
    assert str(caught.value) == f"{message}; attach the detection head again (fnac expand)"


@pytest.mark.parametrize("size", [(320, 320), (300, 300), (160, 160), (64, 96)])
def test_ssdlites_anchors_share_the_picture_evenly(size: tuple[int, int]) -> None:
    spec = AnchorSpec.read(ssdlite_anchors(size))
    cells_now = (math.ceil(size[0] / 16), math.ceil(size[1] / 16))
    for rows_and_columns, level in zip(spec.cells(size), spec.levels, strict=True):
        assert rows_and_columns == cells_now
        assert level.stride == pytest.approx(tuple(s / c for s, c in zip(size, cells_now)))
        cells_now = (math.ceil(cells_now[0] / 2), math.ceil(cells_now[1] / 2))
    boxes = anchor_boxes(spec, size)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (centres > 0).all()
    assert (centres < [size[1], size[0]]).all()
