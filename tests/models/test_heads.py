"""Heads alone: parameters of the tables, first weights, anchors, what they leave at any size."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fnac.models.errors import ModelError
from fnac.models.heads.anchors import anchors_of
from fnac.models.heads.export import BUILDERS, build_head, export_head
from fnac.models.heads.kinds import DEFAULT_HEADS, HEADS, find_head
from fnac.passes.emit.anchors import AnchorSpec, anchor_boxes

CHANNELS = {
    "c2": 24,
    "c3": 32,
    "c4": 96,
    "c5": 320,
    "features": 320,
    "expansion": 576,
    "last": 1280,
}
FEW = dict.fromkeys(CHANNELS, 8)


def cells(spec: dict, height: int, width: int) -> int:
    """Return how many anchors an image has, as those count who decode them."""
    return AnchorSpec.read(spec).count((height, width))


@pytest.mark.parametrize(
    ("head", "classes", "params"),
    [
        ("deeplabv3", 19, 755_795),
        ("deeplabv3plus", 19, 4_003_827),
        ("retinanet", 80, 3_213_312 + 6_463_220),  # neck and head of tables.json
        ("ssdlite", 80, 656_960 + 1_442_156),  # extra levels and head
        ("simplebaseline", 16, 3_413_520),
        ("linear", 10, 12_810),
    ],
)
def test_parameters(head: str, classes: int, params: int) -> None:
    net = build_head(head, CHANNELS, classes)
    assert sum(p.numel() for p in net.parameters()) == params


def test_retinanet_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    head = build_head("retinanet", CHANNELS, 80)
    prior = torch.sigmoid(head.classify[-1].bias)
    torch.testing.assert_close(prior, torch.full((720,), 0.01))
    assert not head.locate[-1].bias.any()
    for layer in (*head.classify, *head.locate):
        if isinstance(layer, nn.Conv2d):
            # standard error of the spread of 83,000 or more numbers: 0.25 %
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_simplebaseline_and_ssdlite_start_as_in_their_code() -> None:
    torch.manual_seed(0)
    for name, spread in (("simplebaseline", 0.001), ("ssdlite", 0.03)):
        head = build_head(name, CHANNELS, 16)
        weights = [
            p.flatten() for m in head.modules() if not isinstance(m, nn.BatchNorm2d)
            for n, p in m.named_parameters(recurse=False) if n == "weight"
        ]  # fmt: skip
        assert torch.cat(weights).std().item() == pytest.approx(spread, rel=0.02)


def test_retinanet_shares_its_subnets_over_the_levels() -> None:
    model = export_head("retinanet", CHANNELS, 3)
    readers = Counter(name for node in model.graph.node for name in node.input)
    stored = [t.name for t in model.graph.initializer]
    assert len(stored) == len(set(stored))
    for name in stored:
        if name.startswith(("head.classify", "head.locate")):
            assert readers[name] == 5, name
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("head", ["retinanet", "ssdlite"])
@pytest.mark.parametrize("size", [(320, 320), (192, 352), (150, 200)])
def test_detectors_leave_a_row_per_anchor(head: str, size: tuple[int, int]) -> None:
    height, width = size
    kind = HEADS[head]
    model = export_head(head, FEW, 2)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {
        tap: np.zeros((2, 8, -(-height // stride), -(-width // stride)), np.float32)
        for tap, stride in zip(kind.taps, kind.strides, strict=True)
    }
    logits, deltas = session.run(["class_logits", "box_deltas"], feed)
    spec = anchors_of(head, (height, width))
    assert spec is not None
    anchors = cells(spec, height, width)
    assert logits.shape == (2, anchors, 3 if head == "ssdlite" else 2)
    assert deltas.shape == (2, anchors, 4)


def test_rows_run_by_level_then_y_x_and_anchor() -> None:
    """The last bias of the subnet marks the anchor of a cell, features mark the cell."""
    model = export_head("retinanet", FEW, 2)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name.startswith("head.") and values.dtype == np.float32:
            values[:] = 0
        if tensor.name == "head.classify.8.bias":
            values[:] = np.arange(18)
        if tensor.name == "head.fpn.output.0.bias":
            values[0] = 1  # the finest level alone is not zero
        if tensor.name.startswith("head.classify") and tensor.name.endswith("weight"):
            values[:1, 0, 1, 1] = 100
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {
        n: np.zeros((1, 8, 64 // s, 64 // s), "f4") for n, s in (("c3", 8), ("c4", 16), ("c5", 32))
    }
    logits = session.run(["class_logits"], feed)[0][0]
    rows = 64 * 9
    np.testing.assert_array_equal(logits[rows : rows + 9], np.arange(18).reshape(9, 2))
    first = logits[:rows].reshape(64, 9, 2)
    assert (first[:, 0, 0] == 100.0**5).all()
    np.testing.assert_array_equal(first[:, 1:], np.tile(np.arange(2, 18).reshape(8, 2), (64, 1, 1)))


def test_anchors_of_retinanet() -> None:
    spec = anchors_of("retinanet", (800, 1088))
    assert spec is not None
    assert [level["stride"] for level in spec["levels"]] == [8, 16, 32, 64, 128]
    boxes = np.array(spec["levels"][0]["boxes"])
    assert boxes.shape == (9, 2)
    np.testing.assert_allclose(boxes.prod(1) ** 0.5, 32 * 2 ** (np.repeat([0, 1, 2], 3) / 3))
    np.testing.assert_allclose(boxes[:, 1] / boxes[:, 0], np.tile([0.5, 1, 2], 3))
    assert (spec["scores"], spec["box_std"], spec["centre"]) == ("sigmoid", [1.0] * 4, 0.5)
    assert cells(spec, 800, 1088) == 9 * (100 * 136 + 50 * 68 + 25 * 34 + 13 * 17 + 7 * 9)


def test_anchors_of_ssdlite_follow_the_size() -> None:
    spec, wide = anchors_of("ssdlite", (320, 320)), anchors_of("ssdlite", (320, 640))
    assert spec is not None
    assert wide is not None
    assert [len(level["boxes"]) for level in spec["levels"]] == [4, 6, 6, 6, 4, 4]
    sides = [level["boxes"][0][0] / 320 for level in spec["levels"]]
    np.testing.assert_allclose(sides, [0.10, 0.20, 0.38, 0.56, 0.74, 0.92])
    boxes = np.array(spec["levels"][1]["boxes"]) / 320
    np.testing.assert_allclose(boxes[1], math.sqrt(0.20 * 0.38))
    np.testing.assert_allclose(boxes[[0, 2, 3, 4, 5]].prod(1), 0.04)
    np.testing.assert_allclose((boxes[:, 0] / boxes[:, 1])[2:], [2, 1 / 2, 3, 1 / 3])
    for a, b in zip(spec["levels"], wide["levels"], strict=True):
        np.testing.assert_allclose(np.array(a["boxes"]) * [2, 1], b["boxes"])
    assert (spec["scores"], spec["box_std"]) == ("softmax", [0.1, 0.1, 0.2, 0.2])
    assert [level["stride"] for level in spec["levels"]] == [
        [side, side] for side in (16, 32, 64, 320 / 3, 160, 320)
    ]
    assert wide["levels"][3]["stride"] == [320 / 3, 128]
    centre = anchor_boxes(spec, (320, 320))[-1].reshape(2, 2).mean(0)
    np.testing.assert_allclose(centre, [160, 160])  # the last level is one cell
    assert cells(spec, 320, 320) == 400 * 4 + 100 * 6 + 25 * 6 + 9 * 6 + 4 * 4 + 4
    assert anchors_of("simplebaseline", (64, 64)) is None


def test_heads_are_found_by_task() -> None:
    assert set(BUILDERS) == set(HEADS)
    assert {t: find_head(None, t).name for t in DEFAULT_HEADS} == DEFAULT_HEADS
    assert find_head("ssdlite", "det").taps == ("expansion", "last")
    for name, task, message in [
        ("fcn", "seg", "head 'fcn'; there are: deeplabv3, deeplabv3plus for seg"),
        ("retinanet", "seg", "'retinanet' is for det; for seg there are: deeplabv3, deeplabv3plus"),
        (None, "depth", "task 'depth'; there are: seg, det, pose, cls"),
    ]:
        with pytest.raises(ModelError, match=message):
            find_head(name, task)
    with pytest.raises(ModelError, match="head retinanet: it reads c4, whose channels were not"):
        build_head("retinanet", {"c3": 8, "c5": 8}, 2)
    with pytest.raises(ModelError, match="head linear: 0 classes; wanted at least 1"):
        build_head("linear", FEW, 0)
