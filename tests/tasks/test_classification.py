"""Classification: loss, top-1 counted by hand, what images are cut to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from fnac.data.batches import BatchSettings
from fnac.data.readers.class_folders import read_class_folders
from fnac.data.transforms.classes import cut_to_shape
from fnac.errors import TrainingError, UnsupportedGraphError, UsageError
from fnac.tasks import make_task
from fnac.tasks.classification import PICTURE_SIDE, Classification
from fnac.tasks.settings import ClassificationSettings
from tests.support.persons import write_picture

TASK = Classification(("ape", "bee", "cat"))
MANIFEST: dict[str, Any] = {
    "task": "cls", "num_classes": 3, "size": [16, 16],
    "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3},
}  # fmt: skip


def test_loss_is_cross_entropy() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    targets = torch.tensor([0, 2, 1, 1])
    loss = TASK.loss(logits, targets, (8, 8))
    assert torch.equal(loss, functional.cross_entropy(logits, targets))
    loss.backward()
    assert logits.grad is not None
    assert TASK.loss((logits.half(),), targets, (8, 8)).dtype == torch.float32
    smooth = Classification(TASK.classes, ClassificationSettings(label_smoothing=0.1))
    assert smooth.loss(logits, targets, (8, 8)) != loss
    with pytest.raises(TrainingError, match=r"found \(4, 2\); wanted logits \(4, 3\)"):
        TASK.loss(logits[:, :2], targets, (8, 8))
    with pytest.raises(UsageError, match="label_smoothing 1: wanted 0 up to below 1"):
        ClassificationSettings(label_smoothing=1)


def test_a_student_is_compared_with_its_teacher_at_a_temperature() -> None:
    student, teacher = 3 * torch.randn(4, 3), 3 * torch.randn(4, 3)
    for t in (1.0, 4.0):
        p, q = (teacher.double() / t).softmax(1), (student.double() / t).softmax(1)
        by_hand = t * t * float((p * (p / q).log()).sum(1).mean())
        found = float(TASK.distillation(student, teacher, (32, 32), t))
        assert found == pytest.approx(by_hand, rel=1e-4)
    with pytest.raises(TrainingError, match=r"wanted logits \(5, 3\)"):
        TASK.distillation(student, torch.randn(5, 4), (32, 32), 1.0)


def test_top_1_by_hand() -> None:
    evaluation = TASK.evaluation([], (8, 8), MANIFEST)  # type: ignore[arg-type]
    logits = torch.tensor([[3.0, 1, 0], [0, 2, 1], [5, 1, 1], [0, 0, 1]])
    evaluation.add([0, 1], {"logits": logits[:2]}, torch.tensor([0, 0]))
    evaluation.add([2, 3], {"y": logits[2:]}, torch.tensor([0, 2]))
    scores = evaluation.compute()
    assert scores.value == 75
    assert scores.per_class == {
        "ape": pytest.approx(200 / 3), "bee": None, "cat": pytest.approx(100),
    }  # fmt: skip
    assert scores.extra == {}
    assert scores.details == {"confusion": [[2, 1, 0], [0, 0, 0], [0, 0, 1]]}  # rows: truth
    evaluation.add([4], {"y": logits[:1]}, torch.tensor([1]))
    assert evaluation.compute().value == pytest.approx(60)


def test_top_5_of_more_classes() -> None:
    task = Classification(tuple("abcdefg"))
    evaluation = task.evaluation([], (8, 8), {})  # type: ignore[arg-type]
    evaluation.add([0, 1], {"y": torch.arange(7.0).repeat(2, 1)}, torch.tensor([2, 1]))
    scores = evaluation.compute()
    assert (scores.value, scores.extra) == (0, {"top-5": 50})


def test_many_classes_are_counted_without_their_pairs() -> None:
    count = 100_000  # a table of pairs would be 80 GB
    task = Classification(tuple(map(str, range(count))))
    evaluation = task.evaluation([], (8, 8), {})  # type: ignore[arg-type]
    logits = torch.zeros(2, count)
    logits[:, 7] = 1
    evaluation.add([0, 1], {"y": logits}, torch.tensor([7, 9]))
    scores = evaluation.compute()
    assert (scores.value, scores.details) == (50, {})
    assert (scores.per_class["7"], scores.per_class["9"], scores.per_class["8"]) == (100, 0, None)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="has 5 classes; the data set has 3"):
        TASK.check_network({"task": "cls", "num_classes": 5})
    TASK.check_network({"task": "seg", "num_classes": 5})
    with pytest.raises(UsageError, match=r"m.onnx: 5 classes; the data set has 3"):
        TASK.logits({"y": torch.zeros(1, 5)}, "m.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"wanted logits \(N, 3\)"):
        TASK.logits({"y": torch.zeros(1, 3, 4, 4)}, "m.onnx")


def test_pictures_are_cut_in_the_middle() -> None:
    image = torch.arange(60).reshape(1, 6, 10).expand(3, 6, 10)
    assert torch.equal(cut_to_shape(image, (16, 16)), image[:, :, 2:8])
    assert torch.equal(cut_to_shape(image, (16, 32)), image[:, :5])
    assert torch.equal(cut_to_shape(image, (30, 50)), image)
    pixels, label = TASK.eval_transform((6, 6), MANIFEST)(image.byte(), torch.tensor(2))
    assert torch.allclose(pixels, (image[:, :, 2:8] / 255 - 0.5) / 0.25, atol=1e-6)
    assert (int(label), label.dtype) == (2, torch.int64)


def test_training_samples_and_the_cache(tmp_path: Path) -> None:
    for name in TASK.classes:
        write_picture(tmp_path / "train" / name / "0.png", 48, 64)
    source = read_class_folders(tmp_path)
    task = make_task("cls", source)
    batches = BatchSettings(scale=(0.8, 1.25), colour=0.2)
    dataset = source.split("train")
    kept = task.cached(dataset, batches, MANIFEST)
    assert kept[0][0].shape == (3, 20, 20)
    assert int(kept[2][1]) == 2
    transform = task.train_transform(batches, MANIFEST)
    samples = [transform(*kept[i], np.random.Generator(np.random.PCG64(i))) for i in range(3)]
    images, labels = task.collate(samples)
    assert (images.shape, labels.tolist()) == ((3, 3, 16, 16), [0, 1, 2])
    again = transform(*kept[1], np.random.Generator(np.random.PCG64(1)))
    assert torch.equal(again[0], images[1])


def test_pictures(tmp_path: Path) -> None:
    for name in TASK.classes:
        write_picture(tmp_path / "train" / name / "0.png", 48, 64)
    dataset = read_class_folders(tmp_path).split("train")
    outputs = [{"logits": torch.tensor([[9.0, 0, 0]])}] * 2
    paths = TASK.pictures(dataset, outputs, tmp_path / "out", (16, 16), MANIFEST)
    assert [p.name for p in paths] == ["prediction_00-ape-0.png", "prediction_01-bee-0.png"]
    below = [np.array(Image.open(p))[PICTURE_SIDE:].astype(int) for p in paths]
    for rows, strongest in zip(below, (1, 0), strict=True):  # right is written green, wrong red
        inked = rows[rows.sum(-1) < 300]
        assert len(inked)
        assert (inked.argmax(-1) == strongest).all()
