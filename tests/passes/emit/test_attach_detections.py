from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, clip_boxes_to_image

from fnac.passes.cost import profile
from fnac.passes.emit.anchors import AnchorSpec, anchor_boxes
from fnac.passes.emit.attach_detections import AttachDetections
from fnac.passes.emit.detector_answers import DetectorAnswers
from fnac.passes.errors import PipelineError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.registry import parse_pipeline
from fnac.tasks.detection.decoding import detect, encode_boxes
from tests.support.graphs import applied, graph, text

ANCHORS: dict[str, Any] = {
    "levels": [
        {"stride": 8, "boxes": [[16, 16], [24, 12]]},
        {"stride": 16, "boxes": [[32, 32], [48, 24], [20, 50]]},
    ]
}
SOFTMAX = {**ANCHORS, "scores": "softmax", "box_std": [0.1, 0.1, 0.2, 0.2]}
PASSED_ON = """(float[N,3,{h},{w}] image, float[N,{a},{c}] p, float[N,{a},4] q) => (l, d)
    {{ l = Identity(p) d = Identity(q) }}"""


def network(anchors: dict[str, Any], h: object, w: object, a: object, c: int, opset: int) -> Graph:
    """A detector whose outputs are fed: the pass sees tensors, the test decides what they are."""
    made = graph(PASSED_ON.format(h=h, w=w, a=a, c=c), opset=opset)
    made.manifest.update(anchors=anchors, size=[72, 104])
    return made


def random_outputs(
    spec: AnchorSpec, size: tuple[int, int], batch: int, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits with some 2 % above the threshold; deltas that move most boxes a little."""
    rng = np.random.default_rng(seed)
    count = spec.count(size)
    columns = classes + (spec.scores == "softmax")
    logits = rng.normal(-5.2, 1.3, (batch, count, columns)).astype(np.float32)
    if spec.scores == "softmax":
        logits[..., 0] += 6.5
    spread = 0.3 / np.array(spec.box_std)
    return logits, (rng.normal(0, 1, (batch, count, 4)) * spread).astype(np.float32)


def reference(
    logits: np.ndarray, deltas: np.ndarray, spec: AnchorSpec, size: tuple[int, int]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The detections by torchvision's box coder and NMS; no candidates are left out."""
    coder = BoxCoder(tuple(1 / s for s in spec.box_std))
    anchors = torch.from_numpy(anchor_boxes(spec, size))
    found = []
    for row, delta in zip(torch.from_numpy(logits), torch.from_numpy(deltas), strict=True):
        scores = row.sigmoid() if spec.scores == "sigmoid" else row.softmax(-1)[:, 1:]
        boxes = clip_boxes_to_image(coder.decode_single(delta, anchors), size)
        place, label = torch.where(scores > 0.05)
        kept = batched_nms(boxes[place], scores[place, label], label, 0.5)[:100]
        found.append((boxes[place][kept], scores[place, label][kept], label[kept]))
    return found


def run(made: Graph, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        made.to_model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(["boxes", "scores", "labels"], feed))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed size", "any size"])
@pytest.mark.parametrize("anchors", [ANCHORS, SOFTMAX], ids=["sigmoid", "softmax"])
def test_the_file_finds_what_torchvision_finds(
    anchors: dict[str, Any], fixed: bool, opset: int
) -> None:
    size, spec = (72, 104), AnchorSpec.read(anchors)
    columns = 5 + (spec.scores == "softmax")
    sides = (*size, spec.count(size)) if fixed else ("H", "W", "A")
    before = network(anchors, *sides, columns, opset)
    after, report = applied(AttachDetections(), before)
    assert list(report.rewrote.values()) == ["boxes, scores, labels"]
    assert [(t.name, list(t.shape)) for t in after.outputs] == [
        ("boxes", ["N", 100, 4]), ("scores", ["N", 100]), ("labels", ["N", 100]),
    ]  # fmt: skip
    for batch in (1, 3):
        logits, deltas = random_outputs(spec, size, batch, 5, seed=batch)
        image = np.zeros((batch, 3, *size), np.float32)
        boxes, scores, labels = run(after, {"image": image, "p": logits, "q": deltas})
        assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
        wanted = reference(logits, deltas, spec, size)
        found = detect(
            torch.from_numpy(logits), torch.from_numpy(deltas),
            torch.from_numpy(anchor_boxes(spec, size)), spec, size, DetectorAnswers(),
        )  # fmt: skip
        for number, (b, s, c) in enumerate(wanted):
            n = len(s)
            assert 20 < n < 100
            assert labels[number, :n].tolist() == c.tolist() == found[number].labels.tolist()
            # float32 in three orders of arithmetic: a few roundings of numbers up to 104
            for a in (boxes[number, :n], found[number].boxes.numpy()):
                np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-4)
            for a in (scores[number, :n], found[number].scores.numpy()):
                np.testing.assert_allclose(a, s.numpy(), rtol=0, atol=1e-6)
            assert (labels[number, n:] == -1).all()
            assert not scores[number, n:].any()
            assert not boxes[number, n:].any()
    assert applied(AttachDetections(), after)[1].rewrote == {}
    assert after.manifest["postprocess"] == "detections"


def test_other_sizes_than_the_manifests_get_their_own_anchors() -> None:
    spec = AnchorSpec.read(ANCHORS)
    after, _ = applied(AttachDetections(), network(ANCHORS, "H", "W", "A", 5, 17))
    for size in ((40, 64), (33, 97)):
        logits, deltas = random_outputs(spec, size, 1, 5, seed=9)
        image = np.zeros((1, 3, *size), np.float32)
        boxes, _, labels = run(after, {"image": image, "p": logits, "q": deltas})
        wanted = reference(logits, deltas, spec, size)[0]
        n = len(wanted[2])
        assert 0 < n < 100
        assert labels[0, : n + 1].tolist() == [*wanted[2].tolist(), -1]
        np.testing.assert_allclose(boxes[0, :n], wanted[0].numpy(), rtol=0, atol=1e-4)


def test_nothing_found_and_fewer_anchors_than_rows() -> None:
    one = {"levels": [{"stride": 32, "boxes": [[32, 32]]}]}
    after, _ = applied(AttachDetections(), network(one, 64, 96, 6, 1, 17))
    assert after.outputs[0].shape == ["N", 6, 4]
    image = np.zeros((2, 3, 64, 96), np.float32)
    logits, deltas = np.full((2, 6, 1), -9, np.float32), np.zeros((2, 6, 4), np.float32)
    boxes, scores, labels = run(after, {"image": image, "p": logits, "q": deltas})
    assert not boxes.any()
    assert not scores.any()
    assert (labels == -1).all()
    logits[1, 4] = 0  # the second cell of the second row
    boxes, scores, labels = run(after, {"image": image, "p": logits, "q": deltas})
    assert boxes[1, 0].tolist() == [32, 32, 64, 64]
    assert (scores[1, 0], labels[1].tolist()) == (0.5, [0] + [-1] * 5)


def test_only_the_best_candidates_are_looked_at() -> None:
    spec, size = AnchorSpec.read(ANCHORS), (72, 104)
    p = AttachDetections(candidates=7, detections=9, score=0.0, iou=1.0)
    after, _ = applied(p, network(ANCHORS, *size, spec.count(size), 2, 17))
    logits, deltas = random_outputs(spec, size, 1, 2, seed=3)
    image = np.zeros((1, 3, *size), np.float32)
    _, scores, _ = run(after, {"image": image, "p": logits, "q": deltas})
    best = np.sort(logits[0].max(axis=1))[-7:]
    rows = logits[0][logits[0].max(axis=1) >= best[0]]
    wanted = np.sort((1 / (1 + np.exp(-rows.astype("f8")))).ravel())[::-1][:9]
    np.testing.assert_allclose(scores[0], wanted, rtol=0, atol=1e-6)


def test_encoding_is_the_reverse_of_decoding() -> None:
    spec, size = AnchorSpec.read(SOFTMAX), (72, 104)
    anchors = torch.from_numpy(anchor_boxes(spec, size))
    boxes = torch.tensor([[3.0, 5, 40, 60], [50, 2, 60, 9]]).repeat(len(anchors) // 2, 1)
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    wanted = coder.encode_single(boxes, anchors[: len(boxes)])
    torch.testing.assert_close(encode_boxes(boxes, anchors[: len(boxes)], spec), wanted)


def test_the_manager_runs_it_and_its_constants_are_no_parameters() -> None:
    body = """(float[N,3,64,64] x) => (l, d)
        <float[6,3,3,3] w, float[12,3,3,3] v, int64[3] s, int64[3] t>
        { a = Conv<strides = [8, 8], pads = [1, 1, 1, 1]>(x, w)
          b = Transpose<perm = [0, 2, 3, 1]>(a) l = Reshape(b, s)
          e = Conv<strides = [8, 8], pads = [1, 1, 1, 1]>(x, v)
          f = Transpose<perm = [0, 2, 3, 1]>(e) d = Reshape(f, t) }"""  # fmt: skip
    made = graph(body, values={"s": [0, -1, 2], "t": [0, -1, 4]})
    boxes = [[16, 16], [24, 12], [12, 24]]
    made.manifest.update(anchors={"levels": [{"stride": 8, "boxes": boxes}]})
    before = profile(made)
    manager = PassManager()
    manager.run([AttachDetections()], made)
    assert manager.ledger[0].verdict == "drift"
    after = profile(made)
    assert (after.params, after.madds) == (before.params, before.madds)
    assert after.by("part")["postprocess"] == (0, 0)
    assert Graph.from_model(made.to_model()).outputs[0].name == "boxes"


@pytest.mark.parametrize(
    ("body", "opset", "anchors", "why"),
    [
        ("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }", 17, None,
         "the manifest has no anchors"),
        ("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }", 17, ANCHORS,
         "no class logits (N, A, C) and box deltas (N, A, 4); found y ['N', 3, 8, 8]"),
        ("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }", 17, ANCHORS,
         "no input is an image (N, C, H, W)"),
        (PASSED_ON.format(h=72, w=104, a=9, c=2), 12, ANCHORS,
         "operator set 12 is below 13; raise-opset first"),
        (PASSED_ON.format(h=72, w=104, a=9, c=2), 17, ANCHORS,
         "9 class rows and 9 box rows; the anchors of the manifest are 339 at 72x104"),
        (PASSED_ON.format(h="H", w="W", a="A", c=2), 17,
         {"levels": [{"stride": 10.5, "boxes": [[1, 1]]}]},
         "the anchors' strides are no whole numbers: they hold for one input size only"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(
    body: str, opset: int, anchors: dict[str, Any] | None, why: str
) -> None:
    before = graph(body, opset=opset)
    if anchors is not None:
        before.manifest["anchors"] = anchors
    after, report = applied(AttachDetections(), before)
    assert report.left == {"graph": why}
    assert text(after) == text(before)
    assert "postprocess" not in after.manifest


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(PipelineError, match=r"iou=1.5, score=0.05; wanted 0 to 1"):
        parse_pipeline("attach-detections{iou=1.5}")
    with pytest.raises(PipelineError, match="candidates=0, detections=100; wanted at least 1"):
        parse_pipeline("attach-detections{candidates=0}")
