"""Keypoints in the graph: equal to the torch decoding, for any batch and size; refusals."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch

from fnac.passes.emit.attach_keypoints import AttachKeypoints
from fnac.passes.emit.convert_float16 import ConvertFloat16
from fnac.passes.graph import Graph
from fnac.tasks.pose.heatmaps import decode_heatmaps
from tests.support.graphs import applied, graph, renamed, text

PASSED_ON = """(float[N,3,{h},{w}] image, float[N,K,a,b] p) => (float[N,K,a,b] heatmaps)
    {{ heatmaps = Identity(p) }}"""


def decoded(made: Graph, heatmaps: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    session = ort.InferenceSession(
        made.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.zeros((len(heatmaps), 3, *size), np.float32)
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, (image, heatmaps), strict=True)))


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize(("batch", "cells", "stride"), [(1, (8, 6), 4), (3, (16, 16), 8)])
def test_equal_to_torch_on_random_heatmaps(
    opset: int, batch: int, cells: tuple[int, int], stride: int
) -> None:
    before = graph(PASSED_ON.format(h="H", w="W"), opset=opset)
    before.manifest["size"] = [64, 64]
    made, report = applied(AttachKeypoints(), before)
    assert list(report.rewrote.values()) == ["keypoints from heatmaps"]
    assert made.manifest["postprocess"] == "keypoints"
    size = (cells[0] * stride, cells[1] * stride)
    rng = np.random.default_rng(batch)
    # small integers: many ties, and highest cells on every edge and in every corner
    for high in (3, 1000):
        heatmaps = rng.integers(-3, high, (batch, 40, *cells)).astype(np.float32)
        for joint, (row, column) in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1), (3, -1)]):
            heatmaps[:, joint, row, column] = high
        keypoints, scores = decoded(made, heatmaps, size)
        wanted, values = decode_heatmaps(torch.from_numpy(heatmaps), size)
        assert keypoints.shape == (batch, 40, 2)
        np.testing.assert_array_equal(keypoints, wanted.numpy(), strict=True)
        np.testing.assert_array_equal(scores, values.numpy(), strict=True)
        assert not np.array_equal(keypoints, np.round(keypoints))  # the shifts are seen
        last = (cells[1] - 0.5) * stride - 0.5
        assert keypoints[0, 1].tolist() == [last, 0.5 * stride - 0.5]


def test_every_place_by_hand() -> None:
    before = graph(PASSED_ON.format(h=16, w=24))
    made, _ = applied(AttachKeypoints(), before)
    heatmaps = np.zeros((1, 5, 4, 6), np.float32)
    heatmaps[0, 0, 0, 0] = 1
    heatmaps[0, 1, 2, 3], heatmaps[0, 1, 2, 4], heatmaps[0, 1, 1, 3] = 1, 0.5, 0.25
    heatmaps[0, 2, 1, 2] = heatmaps[0, 2, 3, 1] = 1
    heatmaps[0, 3, 3, 2], heatmaps[0, 3, 3, 1], heatmaps[0, 3, 2, 2] = 1, 0.5, 0.9
    keypoints, scores = decoded(made, heatmaps, (16, 24))
    # cell * 4 + 1.5 on both axes
    assert keypoints[0].tolist() == [[1.5, 1.5], [14.5, 8.5], [9.5, 5.5], [8.5, 13.5], [1.5, 1.5]]
    assert scores[0].tolist() == [1, 1, 1, 1, 0]


BODY = """(float[N,4,8,8] x) => (float[N,3,4,4] y) <float[3,4,2,2] w>
    { y = Conv<strides = [2, 2]>(x, w) }"""


def test_interface_second_run_and_names() -> None:
    before = graph(BODY)
    made, _ = applied(AttachKeypoints(), before)
    assert [(t.name, list(t.shape), t.dtype) for t in made.outputs] == [
        ("keypoints", ["N", 3, 2], np.float32),
        ("scores", ["N", 3], np.float32),
    ]
    parts = {node.op: node.metadata.get("fnac.part") for node in made.nodes}
    assert parts["ArgMax"] == "postprocess"
    assert parts["Conv"] is None
    as_it_was = text(made)
    assert AttachKeypoints().run(made).rewrote == {}
    assert text(made) == as_it_was
    other, _ = applied(AttachKeypoints(), renamed(before))
    assert [n.op for n in other.nodes] == [n.op for n in made.nodes]


def test_behind_half_precision_pixels_stay_exact() -> None:
    half, report = applied(ConvertFloat16(), graph(BODY))
    assert report.rewrote
    made, _ = applied(AttachKeypoints(), half)
    session = ort.InferenceSession(
        made.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).integers(-3, 4, (2, 4, 8, 8)).astype(np.float32)
    keypoints, scores = session.run(None, {"x": images})
    maps = ort.InferenceSession(
        graph(BODY).to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": images})[0]
    wanted, values = decode_heatmaps(torch.from_numpy(maps), (8, 8))
    # sums of small integers are exact in float16 too
    np.testing.assert_array_equal(keypoints, wanted.numpy(), strict=True)
    np.testing.assert_array_equal(scores, values.numpy(), strict=True)


@pytest.mark.parametrize(
    ("body", "opset", "why"),
    [
        (
            "(float[N,4,8,8] x) => (float[N,4] y) { z = GlobalMaxPool(x) y = Flatten(z) }",
            17,
            "no output holds heatmaps (N, K, h, w); found y ['N', 4]",
        ),
        (
            "(float[N,4] x) => (float[N,4] y) { y = Relu(x) }",
            17,
            "no input is an image (N, C, H, W)",
        ),
        (BODY, 12, "operator set 12 is below 13; raise-opset first"),
    ],
)
def test_refusals(body: str, opset: int, why: str) -> None:
    before = graph(body, opset=opset)
    after, report = applied(AttachKeypoints(), before)
    assert report.left == {"graph": why}
    assert report.rewrote == {}
    assert text(after) == text(before)
