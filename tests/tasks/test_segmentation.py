"""Segmentation: the loss, the metric against a count by hand, the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from fnac.data import open_data
from fnac.data.batches import BatchSettings
from fnac.errors import TrainingError
from fnac.tasks.mean_iou import MeanIoU
from fnac.tasks.panels import GAP_PIXELS, palette, write_png
from fnac.tasks.segmentation import Segmentation
from fnac.tasks.segmentation import task as segmentation

TASK = Segmentation(("a", "b", "c"))


def test_mean_iou_by_hand() -> None:
    metric = MeanIoU(2)
    # class 0: 2 hits, 1 predicted wrongly, 1 missed: 2 / 4; class 1: 3 hits of 3 + 1 + 1: 3 / 5
    truth = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 255]])
    prediction = torch.tensor([[0, 0, 1, 0, 1, 1, 1, 1]])
    metric.update(prediction[:, :4], truth[:, :4])
    metric.update(prediction[:, 4:], truth[:, 4:])
    assert metric.per_class() == [50.0, 60.0]
    assert metric.compute() == 55.0
    assert metric.confusion() == [[2, 1], [1, 3]]  # rows: truth
    prediction[0, 0] = 1
    metric.reset()
    metric.update(prediction, truth)
    assert metric.compute() != 55.0


class Masks:
    """Images of two sizes; their masks are what a test gives."""

    def __init__(self, *masks: torch.Tensor) -> None:
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        mask = self.masks[index]
        return torch.zeros(3, *mask.shape, dtype=torch.uint8), mask.byte()

    def id(self, index: int) -> str:
        return str(index)


def test_labels_of_several_sizes_are_measured_at_their_own() -> None:
    masks = torch.zeros(4, 6), torch.zeros(8, 4)
    masks[0][:, 3:] = 1  # the right half
    masks[1][4:] = 2  # the lower half
    masks[1][:, 3] = 255  # not counted, and no padding either
    dataset, transform = Masks(*masks), TASK.eval_transform((2, 2), {})
    images, targets = TASK.collate([transform(*dataset[i]) for i in range(2)])
    assert images.shape == (2, 3, 2, 2)
    assert targets.shape == (2, 8, 6)
    right, below = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0, 0], [2, 2]])
    ids = torch.stack([right, below])
    logits = 8 * functional.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    for outputs in ({"labels": ids}, {"y": logits}, {"labels": 2 - ids, "scores": logits}):
        evaluation = TASK.evaluation(dataset, (2, 2), {})
        evaluation.add([0, 1], outputs, targets)
        assert evaluation.compute().value == 100.0
    wrong = TASK.evaluation(dataset, (2, 2), {})
    wrong.add([0, 1], {"labels": 2 - ids}, targets)
    assert wrong.compute().value < 50


def test_a_few_classes_at_a_time_are_resized_to_the_same_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(1, 7, 5, 6, generator=torch.Generator().manual_seed(0))
    logits[:, 4] = logits[:, 2]  # the first of equal scores wins
    whole = functional.interpolate(logits, (11, 13), mode="bilinear").argmax(1)
    monkeypatch.setattr(segmentation, "LARGEST_RESIZED", 2 * 11 * 13)
    assert torch.equal(segmentation._ids_at(logits, (11, 13)), whole)


def test_what_a_metric_is_taken_on_keeps_its_labels_in_memory() -> None:
    mask = (torch.arange(48).reshape(6, 8) % 3).byte()
    still = BatchSettings(size=(3, 4), scale=(1.0, 1.0))
    image, kept = TASK.cached(Masks(mask), still, {}, measured=True)[0]
    assert image.shape == (3, 3, 4)
    assert torch.equal(kept, mask)
    assert TASK.cached(Masks(mask), still, {})[0][1].shape == (3, 4)


def test_absent_classes_are_left_out() -> None:
    metric = MeanIoU(4)
    metric.update(torch.tensor([[0, 2, 2, 3]]), torch.tensor([[0, 2, 2, 255]]))
    # 1 is absent; 3 is predicted only where nothing is counted
    assert metric.per_class() == [100.0, None, 100.0, None]
    assert metric.compute() == 100.0
    metric.update(torch.tensor([[1]]), torch.tensor([[0]]))
    assert metric.per_class() == [50.0, 0.0, 100.0, None]
    assert metric.compute() == 50.0


def test_metric_without_pixels_and_refusals() -> None:
    metric = MeanIoU(2)
    metric.update(torch.zeros(1, 3, dtype=torch.uint8), torch.full((1, 3), 255))
    assert np.isnan(metric.compute())
    with pytest.raises(ValueError, match=r"predicted class 2; wanted 0\.\.1"):
        metric.update(torch.tensor([[2]]), torch.tensor([[0]]))
    with pytest.raises(ValueError, match=r"predictions \(1, 2\), truth \(1, 3\)"):
        metric.update(torch.zeros(1, 2), torch.zeros(1, 3))


def test_a_student_is_compared_with_its_teacher_pixel_by_pixel() -> None:
    task = Segmentation(("a", "b", "c"))
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    p, q = teacher.double().softmax(1), student.double().softmax(1)
    by_hand = float((p * (p / q).log()).sum(1).mean())
    assert float(task.distillation(student, teacher, (4, 5), 1.0)) == pytest.approx(by_hand, 1e-4)
    larger = functional.interpolate(teacher, scale_factor=2, mode="nearest")
    smaller = functional.interpolate(larger, (4, 5), mode="bilinear", align_corners=False)
    assert float(task.distillation(smaller, larger, (8, 10), 1.0)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(TrainingError, match="ends in labels"):
        task.distillation(student, teacher.argmax(1), (4, 5), 1.0)


def test_loss_is_cross_entropy_over_what_counts() -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    targets = torch.randint(0, 3, (2, 4, 5))
    targets[0, :2] = 255
    loss = TASK.loss(logits, targets)
    wanted = functional.cross_entropy(logits, targets, ignore_index=255)
    assert torch.allclose(loss, wanted, atol=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[0, :, :2] == 0).all()
    assert (TASK.loss(logits.bfloat16(), targets) - wanted).abs() < 0.05


def test_loss_of_nothing_is_zero_and_small_outputs_are_resized() -> None:
    nothing = torch.full((1, 4, 4), 255)
    assert float(TASK.loss(torch.randn(1, 3, 4, 4), nothing)) == 0.0
    logits, targets = torch.randn(1, 3, 2, 2), torch.randint(0, 3, (1, 8, 8))
    resized = functional.interpolate(logits, (8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(TASK.loss(logits, targets), TASK.loss(resized, targets))


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 3, 8, 8), (2, 3, 8)])
def test_outputs_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError) as caught:
        TASK.loss(torch.zeros(shape), torch.zeros(2, 8, 8, dtype=torch.int64))
    assert str(caught.value) == (
        f"network output: found {shape}; wanted logits (2, 3, height, width) for the 3 classes "
        "of this data set; give the network a head for them: fnac adapt FILE.onnx --task seg "
        "--data SPEC (--strategy seed fine-tunes its own architecture)"
    )


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 1, 8, 8), (2, 3, 8, 8)])
def test_a_network_that_ends_in_labels(shape: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError) as caught:
        TASK.loss(torch.zeros(shape, dtype=torch.int32), torch.zeros(2, 8, 8, dtype=torch.int64))
    assert str(caught.value) == (
        f"network output: found {shape} of torch.int32; the network ends in labels (arg-max), "
        "which have no gradient; tune the target.onnx it was emitted from"
    )


def test_pictures(tmp_path: Path) -> None:
    dataset = open_data("scenes:val=2,size=48").split("val")
    task = Segmentation(tuple(open_data(None).classes))
    paths = []
    for side, label in ((48, dataset[0][1].long()), (24, torch.zeros(24, 24).long())):
        sample, shown = dataset[len(paths)], {"labels": label[None]}
        path = tmp_path / f"{side}.png"
        write_png(path, task.picture(sample, shown, (side, side), {}))
        paths.append(path)
    outputs = [{"labels": dataset[i][1].long()[None]} for i in range(2)]
    written = task.pictures(dataset, outputs, tmp_path / "pictures", (48, 48), {})
    names = [f"prediction_{i:02d}-{dataset.id(i)}.png" for i in range(2)]
    assert [p.name for p in written] == names
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == names
    panel = np.asarray(Image.open(paths[0]))
    assert panel.shape == (48, 3 * 48 + 2 * GAP_PIXELS, 3)
    step = 48 + GAP_PIXELS
    assert np.array_equal(panel[:, :48], dataset[0][0].permute(1, 2, 0).numpy())
    assert np.array_equal(panel[:, step : step + 48], panel[:, 2 * step :])
    assert np.array_equal(panel[:, 2 * step :], palette()[dataset[0][1].numpy()])
    assert np.asarray(Image.open(paths[1])).shape == (24, 3 * 24 + 2 * GAP_PIXELS, 3)


def test_palette_colours_differ() -> None:
    colours = palette().astype(int)
    for classes in (8, 11, 19, 32):
        first = colours[:classes]
        distance = np.abs(first[:, None] - first[None]).sum(-1) + 1000 * np.eye(classes)
        assert distance.min() > 20, classes
    assert colours[255].tolist() == [0, 0, 0]
