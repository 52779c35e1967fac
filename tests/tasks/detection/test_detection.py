from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection._utils import BoxCoder, Matcher, SSDMatcher
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from fnac.config import build
from fnac.data.batches import BatchSettings
from fnac.data.loader import Subset
from fnac.data.readers.coco import read_coco
from fnac.data.sets.boxes import BoxDataset
from fnac.errors import DataError, TrainingError, UnsupportedGraphError, UsageError
from fnac.passes.emit.anchors import AnchorSpec, anchor_boxes
from fnac.tasks import make_task, settings_kind
from fnac.tasks.detection.coco_metric import Found, Truth, coco_results, coco_scores, coco_truth
from fnac.tasks.detection.decoding import encode_boxes
from fnac.tasks.detection.losses import focal_losses, match_anchors, mining_losses
from fnac.tasks.detection.task import Detection
from fnac.tasks.settings import DetectionSettings
from tests.data.readers.test_boxes import coco_folder

SIZE = (64, 96)
CLASSES = ("cat", "dog", "cow")
ANCHORS: dict[str, Any] = {
    "levels": [
        {"stride": 8, "boxes": [[12, 12], [24, 12]]},
        {"stride": 16, "boxes": [[32, 32], [48, 24]]},
    ]
}
SSD_ANCHORS = {**ANCHORS, "scores": "softmax", "box_std": [0.1, 0.1, 0.2, 0.2]}


def setting(anchors: dict[str, Any]) -> tuple[AnchorSpec, torch.Tensor]:
    spec = AnchorSpec.read(anchors)
    return spec, torch.from_numpy(anchor_boxes(spec, SIZE))


def some_targets(seed: int = 0) -> torch.Tensor:
    """Three images with 4, 0 and 2 boxes, filled up to 5 rows."""
    rng = np.random.default_rng(seed)
    targets = np.full((3, 5, 5), -1, np.float32)
    for picture, count in ((0, 4), (2, 2)):
        corner = rng.uniform(0, 40, (count, 2))
        targets[picture, :count, :2] = corner
        targets[picture, :count, 2:4] = corner + rng.uniform(6, 24, (count, 2))
        targets[picture, :count, 4] = rng.integers(0, 3, count)
    return torch.from_numpy(targets)


def some_outputs(spec: AnchorSpec, requires_grad: bool = True) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    columns = len(CLASSES) + (spec.scores == "softmax")
    shapes = (3, spec.count(SIZE), columns), (3, spec.count(SIZE), 4)
    return tuple(torch.randn(s, generator=generator).requires_grad_(requires_grad) for s in shapes)


def by_picture(targets: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """The targets as torchvision's models take them."""
    rows = [t[t[:, 4] >= 0] for t in targets]
    return [{"boxes": r[:, :4], "labels": r[:, 4].long()} for r in rows]


def matched(targets: torch.Tensor, anchors: torch.Tensor, matcher: Any) -> list[torch.Tensor]:
    nothing = torch.full((len(anchors),), -1)
    return [
        matcher(box_iou(t["boxes"], anchors)) if len(t["boxes"]) else nothing
        for t in by_picture(targets)
    ]


def test_anchors_are_matched_as_torchvision_does() -> None:
    _, anchors = setting(ANCHORS)
    targets = some_targets()
    for scores, matcher in (("sigmoid", Matcher(0.5, 0.4, True)), ("softmax", SSDMatcher(0.5))):
        found = match_anchors(targets, anchors, scores)
        assert torch.equal(found, torch.stack(matched(targets, anchors, matcher)))
        assert len(found[found >= 0].unique()) == 4, "every box has an anchor"


def test_a_box_that_no_anchor_touches_takes_none() -> None:
    _, anchors = setting(ANCHORS)
    far = torch.tensor([[[900.0, 900, 910, 910, 1], [8, 8, 20, 20, 2]]])
    found = match_anchors(far, anchors, "sigmoid")
    assert set(found.unique().tolist()) <= {-2, -1, 1}
    assert (found == 1).any()


def test_focal_loss_of_the_classes_is_torchvisions() -> None:
    spec, anchors = setting(ANCHORS)
    targets = some_targets()
    logits, deltas = some_outputs(spec)
    matches = matched(targets, anchors, Matcher(0.5, 0.4, True))
    counts = [int((m >= 0).sum()) for m in matches]
    head = SimpleNamespace(BETWEEN_THRESHOLDS=-2)
    total = torch.zeros(())
    for number, count in enumerate(counts):
        one: Any = [by_picture(targets)[number]]
        outputs = {"cls_logits": logits[number : number + 1]}
        if not len(one[0]["boxes"]):  # torchvision gives such an image no loss of its own labels
            one = [{"boxes": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.long)}]
        loss = RetinaNetClassificationHead.compute_loss(head, one, outputs, [matches[number]])
        total = total + loss * max(1, count)
    found, _ = focal_losses(logits, deltas, targets, anchors, spec)
    torch.testing.assert_close(found, total / sum(counts))


def test_smooth_l1_of_the_boxes_by_hand() -> None:
    spec, anchors = setting(ANCHORS)
    targets = some_targets()
    logits, deltas = some_outputs(spec)
    matches = matched(targets, anchors, Matcher(0.5, 0.4, True))
    coder, total, count = BoxCoder((1.0, 1.0, 1.0, 1.0)), 0.0, 0
    for number, found in enumerate(matches):
        for anchor in (found >= 0).nonzero().ravel().tolist():
            truth = by_picture(targets)[number]["boxes"][found[anchor]][None]
            wanted = coder.encode_single(truth, anchors[anchor][None])[0]
            for gap in (deltas[number, anchor] - wanted).abs().tolist():
                total += 4.5 * gap * gap if gap < 1 / 9 else gap - 1 / 18
            count += 1
    _, found_loss = focal_losses(logits, deltas, targets, anchors, spec)
    assert float(found_loss.detach()) == pytest.approx(total / count, rel=1e-5)


def test_ssd_loss_is_torchvisions() -> None:
    spec, anchors = setting(SSD_ANCHORS)
    targets = some_targets()
    logits, deltas = some_outputs(spec)
    model = SimpleNamespace(box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)
    truth = [{**t, "labels": t["labels"] + 1} for t in by_picture(targets)]
    for one in truth:  # torchvision reads a label even where no anchor is matched
        if not len(one["boxes"]):
            one |= {"boxes": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.long)}
    outputs = {"cls_logits": logits, "bbox_regression": deltas}
    matches = matched(targets, anchors, SSDMatcher(0.5))
    wanted = SSD.compute_loss(model, truth, outputs, [anchors] * 3, matches)
    classes, boxes = mining_losses(logits, deltas, targets, anchors, spec)
    torch.testing.assert_close(classes, wanted["classification"])
    torch.testing.assert_close(boxes, wanted["bbox_regression"])


@pytest.mark.parametrize("anchors", [ANCHORS, SSD_ANCHORS], ids=["retinanet", "ssdlite"])
def test_the_loss_of_the_task(anchors: dict[str, Any]) -> None:
    task = Detection(CLASSES, spec=AnchorSpec.read(anchors))
    outputs = some_outputs(task.spec)  # type: ignore[arg-type]
    loss = task.loss(outputs, some_targets(), SIZE)
    loss.backward()
    assert all(o.grad is not None and o.grad.abs().sum() > 0 for o in outputs)
    empty = torch.full((3, 2, 5), -1.0)
    for targets in (empty, empty[:, :0]):
        nothing = task.loss(outputs, targets, SIZE)
        nothing.backward()
        assert bool(torch.isfinite(nothing))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = tuple(o.bfloat16() for o in outputs)
        rounded = task.loss(halves, some_targets(), SIZE)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, loss, rtol=0.02, atol=0)  # bfloat16 keeps 8 bits
    with pytest.raises(TrainingError, match=r"wanted class logits \(N, 240, [34]\) and box deltas"):
        task.loss(outputs[0], some_targets(), SIZE)
    with pytest.raises(TrainingError, match=r"64x64"):
        task.loss(outputs, some_targets(), (64, 64))


@pytest.mark.parametrize("anchors", [ANCHORS, SSD_ANCHORS], ids=["retinanet", "ssdlite"])
def test_a_student_is_compared_with_its_teacher_on_the_same_anchors(
    anchors: dict[str, Any],
) -> None:
    task = Detection(CLASSES, spec=AnchorSpec.read(anchors))
    logits, deltas = some_outputs(task.spec)  # type: ignore[arg-type]
    teacher = (logits.detach() + 1.5 * torch.rand_like(logits), deltas.detach() + 0.1)
    assert float(task.distillation(teacher, teacher, SIZE, 2.0)) == pytest.approx(0, abs=1e-6)
    far = task.distillation((logits, deltas), teacher, SIZE, 2.0)
    far.backward()
    assert float(far) > 0
    assert logits.grad is not None
    assert deltas.grad is not None
    if task.spec.scores == "sigmoid":  # type: ignore[union-attr]
        assert bool((logits.grad <= 0).all()), "every score is below the teacher's"
        chances = teacher[0].sigmoid().amax(-1)
    else:
        chances = teacher[0].softmax(-1)[..., 1:].amax(-1)
    shares = (deltas.grad / chances[..., None]).abs()  # a box counts as its object is seen
    torch.testing.assert_close(shares, torch.full_like(shares, float(shares.mean())))
    with pytest.raises(TrainingError, match=r"wanted class logits \(N, 240, [34]\) and box deltas"):
        task.distillation((logits, deltas), teacher[:1], SIZE, 2.0)


# --------------------------------------------------------------------------- metric


def some_pictures(seed: int, count: int = 12) -> tuple[list[Truth], list[Found]]:
    """Objects of all sizes and crowds; detections near them and elsewhere, some without any."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(count):
        boxes = rng.uniform(0, 200, (int(rng.integers(0, 8)), 5))
        boxes[:, 2:4] = boxes[:, :2] + rng.uniform(5, 160, (len(boxes), 2))
        boxes[:, 4] = rng.integers(0, 2, len(boxes))
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * rng.uniform(0.5, 1)
        crowd = np.add(boxes[:1], [30, 30, 90, 90, 0]) if number % 3 == 0 else boxes[:0]
        truths.append(Truth(boxes, areas, crowd))
        near = np.repeat(boxes, 3, axis=0)
        near[:, :4] += rng.normal(0, 6, (len(near), 4))
        near[:, 2:4] = np.maximum(near[:, 2:4], near[:, :2] + 1)
        flip = rng.random(len(near)) < 0.2
        labels = np.where(flip, 1 - near[:, 4], near[:, 4]).astype(int)
        keep = rng.random(len(near)) < (0.0 if number == 1 else 0.8)
        found.append(Found(near[keep, :4], rng.random(len(near))[keep], labels[keep]))
    return truths, found


@pytest.mark.parametrize("seed", range(3))
def test_two_evaluators_agree(seed: int) -> None:
    """faster-coco-eval, which the product uses, and pycocotools, the original."""
    truths, found = some_pictures(seed)
    scores = coco_scores(truths, found, CLASSES)
    assert scores is not None
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco_truth(truths, CLASSES)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(coco_results(found)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    wanted = dict(zip(("AP50", "AP75", "AP_small", "AP_medium", "AP_large"), evaluator.stats[1:6]))
    assert scores.value == pytest.approx(100 * evaluator.stats[0], abs=1e-9)
    assert scores.extra == pytest.approx({k: 100 * v for k, v in wanted.items()}, abs=1e-9)
    assert 10 < scores.value < 90
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    assert scores.per_class["cat"] == pytest.approx(100 * precision[:, :, 0].mean(), abs=1e-9)
    assert scores.per_class["cow"] is None, "a class without an object has no figure"


def average_precision(truths: list[Truth], found: list[Found], label: int, iou: float) -> float:
    """AP at one overlap, without crowds, written down from its definition."""
    hits, total = [], 0
    for truth, one in zip(truths, found, strict=True):
        boxes = torch.from_numpy(truth.boxes[truth.boxes[:, 4] == label, :4])
        total += len(boxes)
        free = [True] * len(boxes)
        mine = one.labels == label
        order = np.argsort(-one.scores[mine], kind="stable")
        for box, score in zip(one.boxes[mine][order], one.scores[mine][order], strict=True):
            overlap = box_iou(torch.from_numpy(box)[None], boxes)[0].tolist()
            fits = [(o, i) for i, o in enumerate(overlap) if free[i] and o >= iou]
            if fits:
                free[max(fits)[1]] = False
            hits.append((score, bool(fits)))
    hits.sort(key=lambda h: -h[0])
    right = np.cumsum([h for _, h in hits])
    recall, precision = right / total, right / np.arange(1, len(hits) + 1)
    return float(
        np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)])
    )


def test_the_evaluator_agrees_with_the_definition() -> None:
    truths, found = some_pictures(5)
    truths = [Truth(t.boxes, t.areas, t.ignored[:0]) for t in truths]
    scores = coco_scores(truths, found, CLASSES)
    assert scores is not None
    wanted = np.mean([average_precision(truths, found, label, 0.5) for label in (0, 1)])
    assert scores.extra["AP50"] == pytest.approx(100 * wanted, abs=1e-9)


def test_detections_in_a_crowd_do_not_count() -> None:
    boxes = np.array([[0.0, 0, 10, 10, 0]])
    crowd = np.array([[50.0, 50, 100, 100, 0]])
    inside = np.array([[60.0, 60, 70, 70], [0, 0, 10, 10]])
    found = [Found(inside, np.array([0.9, 0.8]), np.array([0, 0]))]
    with_crowd = coco_scores([Truth(boxes, np.array([100.0]), crowd)], found, CLASSES)
    without = coco_scores([Truth(boxes, np.array([100.0]), crowd[:0])], found, CLASSES)
    assert with_crowd is not None
    assert without is not None
    assert (with_crowd.value, without.value) == (pytest.approx(100), pytest.approx(50))


def test_no_detections_and_no_objects() -> None:
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    truth = Truth(np.array([[0.0, 0, 10, 10, 0]]), np.array([100.0]), np.zeros((0, 5)))
    scores = coco_scores([truth], [nothing], CLASSES)
    assert scores is not None
    assert scores.value == 0
    assert coco_scores([Truth(truth.boxes[:0], np.zeros(0), truth.boxes)], [nothing], ["a"]) is None


# --------------------------------------------------------------------------- the task


def perfect_outputs(task: Detection, dataset: Any, indices: range) -> tuple[torch.Tensor, ...]:
    """Raw outputs whose best anchors stand for exactly the boxes of the samples."""
    spec = task.spec
    assert spec is not None
    transform = task.eval_transform(SIZE, {"preprocessing": PREPROCESSING})
    _, targets = task.collate([transform(*dataset[i]) for i in indices])
    anchors = torch.from_numpy(anchor_boxes(spec, SIZE))
    columns = len(task.classes) + (spec.scores == "softmax")
    logits = torch.full((len(indices), len(anchors), columns), -9.0)
    if spec.scores == "softmax":
        logits[..., 0] = 9
    deltas = torch.zeros(len(indices), len(anchors), 4)
    for picture, rows in enumerate(targets):
        taken: set[int] = set()
        for row in rows[rows[:, 4] >= 0]:
            order = box_iou(row[None, :4], anchors)[0].argsort(descending=True).tolist()
            anchor = next(i for i in order if i not in taken)
            taken.add(anchor)
            if spec.scores == "softmax":
                logits[picture, anchor, 0] = -9
            logits[picture, anchor, int(row[4]) + (spec.scores == "softmax")] = 9
            deltas[picture, anchor] = encode_boxes(row[None, :4], anchors[anchor][None], spec)[0]
    return logits, deltas


PREPROCESSING = {"mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.mark.parametrize("anchors", [ANCHORS, SSD_ANCHORS], ids=["retinanet", "ssdlite"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_perfect_outputs_are_perfect_in_the_pixels_of_the_originals(
    shared_data: Path, anchors: dict[str, Any], resize: Any, tmp_path: Path
) -> None:
    source = read_coco(shared_data / "bccd")
    manifest = {"anchors": anchors, "preprocessing": PREPROCESSING}
    task = make_task("det", source, manifest, DetectionSettings(resize=resize))
    assert isinstance(task, Detection)
    whole = source.split("val")
    dataset = Subset(whole, tuple(range(30, 34)))
    logits, deltas = perfect_outputs(task, dataset, range(4))
    images = torch.zeros(4, 3, *SIZE)
    evaluation = task.evaluation(dataset, SIZE, manifest, "test")
    outputs = task.predict(lambda _: {"class_logits": logits, "box_deltas": deltas}, images)
    evaluation.add(range(4), outputs, torch.zeros(4, 0, 5))
    scores = evaluation.compute()
    # doubly annotated cells (overlap above 0.5) fall to the suppression of doubles
    assert scores.value > 95
    assert scores.extra["AP75"] > 95
    assert set(scores.per_class) == {"RBC", "WBC", "Platelets"}
    one = {name: tensor[:1] for name, tensor in outputs.items()}
    written = task.pictures(dataset, [one], tmp_path / "p", SIZE, manifest)
    assert [p.name for p in written] == [f"prediction_00-{dataset.id(0)}.png"]
    again = task.evaluation(dataset, SIZE, manifest, "test")
    again.add(range(4), task.predict(lambda _: outputs, images), torch.zeros(4, 0, 5))
    assert again.compute() == scores, "what an emitted file answers is taken as it is"
    shifted = {**outputs, "boxes": outputs["boxes"] + 4}
    wrong = task.evaluation(dataset, SIZE, manifest, "test")
    wrong.add(range(4), shifted, torch.zeros(4, 0, 5))
    assert wrong.compute().value < scores.value - 20


def test_training_samples_and_the_cache(tmp_path: Path) -> None:
    source = read_coco(coco_folder(tmp_path))
    manifest = {"anchors": ANCHORS, "size": [40, 60], "preprocessing": PREPROCESSING}
    task = make_task("det", source, manifest)
    train = source.split("train")
    batches = BatchSettings(batch_size=2, scale=(1.0, 1.0), flip=False)
    kept = task.cached(train, batches, manifest)
    assert tuple(kept[0][0].shape) == (3, 30, 60)
    transform = task.train_transform(batches, manifest)
    for dataset in (train, kept):
        samples = [transform(*dataset[i], np.random.default_rng(0)) for i in range(2)]
        images, targets = task.collate(samples)
        assert tuple(images.shape) == (2, 3, 40, 60)
        assert targets.tolist() == [[[3, 6, 12, 18, 1]], [[-1] * 5]]
    assert tuple(task.cached(train, BatchSettings(), manifest)[0][0].shape) == (3, 10, 20)
    ssdlite = task.train_transform(batches, {**manifest, "head": "ssdlite"})
    assert (ssdlite.fit.mode, ssdlite.iou_crop) == ("stretch", True)  # type: ignore[attr-defined]


def test_pictures_of_several_sizes_are_padded_to_32(tmp_path: Path) -> None:
    source = read_coco(coco_folder(tmp_path))
    manifest = {"anchors": ANCHORS, "size": [40, 60], "preprocessing": PREPROCESSING}
    task = make_task("det", source, manifest, DetectionSettings(resize="sides"))
    transform = task.eval_transform((40, 60), manifest)
    images, _ = task.collate([transform(*source.split("train")[i]) for i in range(2)])
    assert tuple(images.shape) == (2, 3, 64, 64)  # 30x60 and 40x40 before


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    source = read_coco(coco_folder(tmp_path))
    task = make_task("det", source, {"anchors": ANCHORS})
    with pytest.raises(UsageError, match="has 80 classes; the data set has 2"):
        task.check_network({"task": "det", "num_classes": 80})
    images = torch.zeros(1, 3, *SIZE)
    with pytest.raises(UnsupportedGraphError, match="wanted class logits"):
        task.predict(lambda _: {"y": torch.zeros(1, 5)}, images)
    with pytest.raises(UsageError, match="manifest has no anchors"):
        make_task("det", source, {}).predict(lambda _: {"y": torch.zeros(1, 5)}, images)
    train = source.split("train")
    assert isinstance(train, BoxDataset)
    found = {
        "boxes": torch.zeros(1, 1, 4), "scores": torch.ones(1, 1), "labels": torch.full((1, 1), 7),
    }  # fmt: skip
    evaluation = task.evaluation(train, SIZE, {}, "model.onnx")
    with pytest.raises(UsageError, match=r"model.onnx: finds class 7; the data set has 2"):
        evaluation.add([0], found, torch.zeros(1, 0, 5))
    evaluation = task.evaluation(Subset(train, (1,)), SIZE, {}, "model.onnx")
    evaluation.add([0], {**found, "labels": torch.full((1, 1), -1)}, torch.zeros(1, 0, 5))
    with pytest.raises(DataError, match="1 images without an object"):
        evaluation.compute()
    with pytest.raises(UsageError, match=r"task.resize"):
        build(settings_kind("det"), {"resize": "squash"}, "task")
    assert DetectionSettings().detections == 100
