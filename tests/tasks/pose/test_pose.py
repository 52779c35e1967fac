"""Pose: heatmaps and back, the loss, PCK counted by hand, AP against a perfect answer, images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.coco as pycoco
import pytest
import torch
from PIL import Image
from pycocotools import cocoeval
from torch import Tensor

from fnac.data import open_data
from fnac.data.batches import BatchSettings
from fnac.data.readers.coco_keypoints import read_coco_keypoints
from fnac.data.readers.mpii import read_mpii
from fnac.data.sets.joints import COCO, MPII, JointSet
from fnac.errors import DataError, TrainingError, UnsupportedGraphError, UsageError
from fnac.tasks import make_task
from fnac.tasks.panels import GAP_PIXELS
from fnac.tasks.pose.correct_joints import CorrectJoints
from fnac.tasks.pose.heatmaps import decode_heatmaps, gaussian_heatmaps, unmirror
from fnac.tasks.pose.task import Pose
from fnac.tasks.settings import PoseSettings
from tests.support.persons import coco_person, mpii_person, write_coco, write_mpii

PAIR = JointSet(("left_hand", "right_hand", "nose"), ((0, 2), (1, 2)), "PCK@0.2", torso=(0, 1))
TASK = Pose(PAIR)
MANIFEST: dict[str, Any] = {
    "task": "pose", "num_classes": 3, "size": [64, 64],
    "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3},
}  # fmt: skip


def test_gaussians_by_hand() -> None:
    # 256 pixels on 64 cells: pixel 41.5 is the middle of cell 10, pixel 43.5 lies between two.
    joints = torch.tensor([[[41.5, 81.5, 2], [43.5, 81.5, 1], [41.5, 81.5, 0]]])
    maps, weights = gaussian_heatmaps(joints, (64, 64), (256, 256), 2.0)
    assert maps.shape == (1, 3, 64, 64)
    assert weights.tolist() == [[1, 1, 0]]
    assert maps[0, 0].max() == maps[0, 0, 20, 10] == 1
    assert maps[0, 0, 20, 12] == pytest.approx(np.exp(-4 / 8))
    assert maps[0, 0, 22, 12] == pytest.approx(np.exp(-8 / 8))
    assert maps[0, 0, 20, 16] == pytest.approx(np.exp(-36 / 8))
    assert maps[0, 0, 20, 17] == 0  # beyond three sigmas
    assert maps[0, 1, 20, 10] == maps[0, 1, 20, 11] == pytest.approx(np.exp(-0.25 / 8))
    # on 32 cells the gaussian is half as wide, so it covers as much of the person
    small, _ = gaussian_heatmaps(joints, (32, 32), (256, 256), 2.0)
    assert small[0, 0].sum() == pytest.approx(float(maps[0, 0].sum()) / 4, rel=0.01)


def test_joints_out_of_sight_weigh_nothing() -> None:
    joints = torch.tensor([[[-22.0, 10, 2], [-30, 10, 2], [255 + 25, 10, 2], [10, 290, 2]]])
    _, weights = gaussian_heatmaps(joints, (64, 64), (256, 256), 2.0)
    # the gaussian reaches six cells, 24 pixels
    assert weights.tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize(("cells", "size"), [((64, 64), (256, 256)), ((24, 32), (96, 128))])
def test_decoding_finds_what_was_drawn(cells: tuple[int, int], size: tuple[int, int]) -> None:
    joints = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    joints = joints * torch.tensor([size[1] - 9.0, size[0] - 9.0, 0]) + torch.tensor([4, 4, 2.0])
    maps, _ = gaussian_heatmaps(joints, cells, size, 2.0)
    found, scores = decode_heatmaps(maps, size)
    # A quarter of a cell from the middle: at most a quarter of a cell, one pixel, is lost.
    assert (found - joints[..., :2]).abs().max() <= 1.001
    assert scores.min() > 0.75


def test_decoding_at_edges_and_ties() -> None:
    maps = torch.zeros(1, 5, 4, 6)
    maps[0, 0, 0, 0] = 1  # a corner: no shift
    maps[0, 1, 2, 3], maps[0, 1, 2, 4], maps[0, 1, 1, 3] = 1, 0.5, 0.25  # right and up
    maps[0, 2, 1, 2] = maps[0, 2, 3, 1] = 1  # the first of two, its neighbours equal
    maps[0, 3, 3, 2], maps[0, 3, 3, 1], maps[0, 3, 2, 2] = 1, 0.5, 0.9  # lower edge: left only
    found, scores = decode_heatmaps(maps, (4, 6))
    assert found[0].tolist() == [[0, 0], [3.25, 1.75], [2, 1], [1.75, 3], [0, 0]]
    assert scores[0].tolist() == [1, 1, 1, 1, 0]
    assert decode_heatmaps(maps, (16, 24))[0][0, 1].tolist() == [14.5, 8.5]


def test_unmirror_undoes_a_mirror() -> None:
    joints = torch.tensor([[[50.0, 30, 2], [20, 40, 2], [33, 9, 2]]])
    mirrored = torch.tensor([[[63 - 20.0, 40, 2], [63 - 50, 30, 2], [63 - 33, 9, 2]]])
    plain, _ = gaussian_heatmaps(joints, (16, 16), (64, 64), 2.0)
    other, _ = gaussian_heatmaps(mirrored, (16, 16), (64, 64), 2.0)
    assert torch.allclose(unmirror(other, PAIR.mirrored), plain, atol=1e-6)
    assert not torch.allclose(other.flip(-1), plain, atol=0.1)


def test_loss_is_half_the_mean_square_of_what_counts() -> None:
    targets = torch.tensor([[[20.0, 30, 2], [40, 10, 0], [5, 60, 1]]])
    heatmaps = torch.rand(1, 3, 16, 16, requires_grad=True)
    loss = TASK.loss(heatmaps, targets, (64, 64))
    truth, _ = gaussian_heatmaps(targets, (16, 16), (64, 64), 2.0)
    by_hand = sum(0.5 * ((heatmaps[0, k] - truth[0, k]) ** 2).mean() for k in (0, 2)) / 3
    assert loss.item() == pytest.approx(float(by_hand.detach()), rel=1e-6)
    loss.backward()
    assert heatmaps.grad is not None
    assert heatmaps.grad[0, 1].abs().max() == 0
    assert heatmaps.grad[0, [0, 2]].abs().min() > 0
    assert TASK.loss((truth,), targets, (64, 64)) == 0
    assert TASK.loss(heatmaps.half(), targets, (64, 64)).dtype == torch.float32
    with pytest.raises(TrainingError, match=r"found \(1, 3, 2\); wanted heatmaps \(1, 3, height"):
        TASK.loss(torch.zeros(1, 3, 2), targets, (64, 64))


def test_a_student_is_compared_with_its_teachers_heatmaps() -> None:
    student, teacher = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    found = float(TASK.distillation(student, teacher, (64, 64), 2.0))
    assert found == pytest.approx(0.5 * float(((student - teacher) ** 2).mean()))
    larger = torch.full((2, 3, 16, 16), 0.25)
    flat = torch.full((2, 3, 8, 8), 0.25)
    assert float(TASK.distillation(flat, larger, (64, 64), 2.0)) == pytest.approx(0, abs=1e-9)
    with pytest.raises(TrainingError, match=r"wanted heatmaps \(2, 3, height, width\)"):
        TASK.distillation(student, torch.rand(2, 4, 8, 8), (64, 64), 2.0)


def test_pck_by_hand() -> None:
    metric = CorrectJoints("PCK@0.2", ("a", "b", "c"))
    truth = np.array([[[0, 0, 2], [10, 0, 2], [5, 5, 1]], [[0, 0, 2], [10, 0, 2], [9, 9, 0]]])
    found = np.array([[[0, 2], [10, 2.1], [5, 5]], [[1, 1], [12, 1], [0, 0]]], dtype=float)
    metric.add(found[:1], truth[:1], np.array([10.0]))
    metric.add(found[1:], truth[1:], np.array([10.0]))
    scores = metric.compute()
    # distances in units of 10: 0.2, 0.21, 0 | 0.141, 0.224, not labelled
    assert scores.per_class == {"a": 100.0, "b": 0.0, "c": 100.0}
    assert scores.value == pytest.approx(60)
    assert scores.extra == {"PCK@0.1": 20.0}
    metric.add(found, truth, np.array([np.nan, 0.0]))  # without a unit: not counted
    assert metric.compute() == scores
    assert np.isnan(CorrectJoints("PCK@0.2", ("a",)).compute().value)


def test_pckh_leaves_out_pelvis_and_thorax() -> None:
    metric = CorrectJoints(MPII.metric, MPII.names, MPII.not_counted)
    truth = np.concatenate([np.zeros((1, 16, 2)), np.full((1, 16, 1), 2)], axis=2)
    found = np.zeros((1, 16, 2))
    found[0, [6, 7, 0], 0] = 5.1
    metric.add(found, truth, np.array([10.0]))
    scores = metric.compute()
    assert scores.value == pytest.approx(100 * 13 / 14)
    assert (scores.per_class["pelvis"], scores.per_class["right_ankle"]) == (None, 0.0)


def perfect(dataset: Any, task: Pose, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Samples as the evaluation feeds them, and heatmaps that show their joints."""
    transform = task.eval_transform(size, MANIFEST)
    _, targets = task.collate([transform(*dataset[i]) for i in range(len(dataset))])
    maps, _ = gaussian_heatmaps(targets, (size[0] // 4, size[1] // 4), size, 2.0)
    return targets, maps


def measured(task: Pose, dataset: Any, maps: Tensor, targets: Tensor) -> list[Any]:
    """The same answer as heatmaps and as an emitted file's keypoints and scores."""
    size = (maps.shape[-2] * 4, maps.shape[-1] * 4)
    found, scores = decode_heatmaps(maps, size)
    results = []
    for outputs in ({"y": maps}, {"keypoints": found, "scores": scores}):
        evaluation = task.evaluation(dataset, size, MANIFEST)
        middle = len(maps) // 2
        for part in (range(middle), range(middle, len(maps))):
            some = {name: values[part.start : part.stop] for name, values in outputs.items()}
            evaluation.add(part, some, targets[part.start : part.stop])
        results.append(evaluation.compute())
    return results


def test_pckh_in_units_of_the_picture(tmp_path: Path) -> None:
    # The head is 4 pixels of the image: a joint may be 2 off; the window of 50 fills 128.
    write_mpii(tmp_path, [mpii_person(i, head_size=4.0) for i in range(2)])
    dataset = read_mpii(tmp_path).split("train")
    task = Pose(MPII)
    targets, _ = perfect(dataset, task, (128, 128))
    for off, value in ((1.9, 100.0), (2.1, 50.0)):
        evaluation = task.evaluation(dataset, (128, 128), MANIFEST)
        found = targets[..., :2].clone()
        found[1, :, 1] += off * 128 / 50
        evaluation.add([0, 1], {"keypoints": found, "scores": torch.ones(2, 16)}, targets)
        assert evaluation.compute().value == pytest.approx(value)


def test_perfect_heatmaps_of_the_pack(shared_data: Path) -> None:
    source = open_data(f"lsp:{shared_data / 'lspet_pose'}", "pose")
    task = make_task("pose", source)
    assert isinstance(task, Pose)
    assert task.metric == "PCK@0.2"
    from fnac.data.loader import Subset

    dataset = Subset(source.split("val"), tuple(range(0, 300, 30)))
    targets, maps = perfect(dataset, task, (128, 128))
    from_maps, from_keypoints = measured(task, dataset, maps, targets)
    assert from_maps == from_keypoints
    assert from_maps.value == 100
    wrong = maps[:, torch.roll(torch.arange(14), 1)]
    assert measured(task, dataset, wrong, targets)[0].value < 40


def test_coco_ap_of_genuine_persons(shared_data: Path) -> None:
    source = read_coco_keypoints(shared_data / "fixtures" / "coco")
    dataset, task = source.split("val"), Pose(COCO)
    targets, maps = perfect(dataset, task, (256, 192))
    from_maps, from_keypoints = measured(task, dataset, maps, targets)
    assert from_maps == from_keypoints
    assert task.metric == "AP"
    assert from_maps.value > 95
    assert {"AP50", "AP75", "AR"} <= from_maps.extra.keys()
    assert min(v for v in from_maps.per_class.values() if v is not None) > 80
    swapped = maps[:, COCO.mirrored]  # left and right taken for one another
    assert measured(task, dataset, swapped, targets)[0].value < 40


def test_coco_ap_is_what_another_evaluator_says(shared_data: Path) -> None:
    """The same answers, noisy, given to pycocotools, the original."""
    root = shared_data / "fixtures" / "coco"
    dataset, task = read_coco_keypoints(root).split("val"), Pose(COCO)
    evaluation = task.evaluation(dataset, (256, 192), MANIFEST)
    targets, _ = perfect(dataset, task, (256, 192))
    rng = np.random.default_rng(0)
    noisy = targets[..., :2] + torch.from_numpy(rng.normal(0, 6, (len(dataset), 17, 2))).float()
    scores = torch.from_numpy(rng.uniform(0.3, 1, (len(dataset), 17))).float()
    evaluation.add(range(len(dataset)), {"keypoints": noisy, "scores": scores}, targets)
    ours = evaluation.compute()
    coco = pycoco.COCO(str(root / "annotations/person_keypoints_val2017.json"))
    results = []
    for i, person in enumerate(dataset.persons):
        factor = min(192 / person.window[0], 256 / person.window[1])
        middle = np.array([191, 255]) / 2
        places = (noisy[i].numpy() - middle) / factor + np.array(person.centre)
        flat = np.column_stack([places, np.ones(17)]).ravel().tolist()
        results.append({"image_id": person.image_id, "category_id": 1, "keypoints": flat,
                        "score": float(scores[i].mean())})  # fmt: skip
    run = cocoeval.COCOeval(coco, coco.loadRes(results), "keypoints")
    run.evaluate()
    run.accumulate()
    run.summarize()
    # The annotations hold persons without joints and crowds as well: they are ignored there.
    assert 30 < ours.value < 95
    assert ours.value == pytest.approx(100 * run.stats[0], abs=0.01)
    assert ours.extra["AP50"] == pytest.approx(100 * run.stats[1], abs=0.01)


def test_flip_test_averages_two_runs() -> None:
    task = Pose(PAIR, PoseSettings(flip_test=True))
    seen: list[Tensor] = []

    def network(images: Tensor) -> dict[str, Tensor]:
        seen.append(images)
        return {"heatmaps": torch.stack([images[:, 0], 2 * images[:, 0], 3 * images[:, 0]], 1)}

    images = torch.rand(2, 3, 8, 8)
    maps = task.predict(network, images)["heatmaps"]
    assert torch.equal(seen[1], images.flip(-1))
    # left is 1 in one and 2 in the other run, right the reverse, the nose 3 in both
    wanted = torch.stack([1.5 * images[:, 0], 1.5 * images[:, 0], 3 * images[:, 0]], 1)
    assert torch.allclose(maps, wanted)
    assert TASK.predict(network, images)["heatmaps"].shape == (2, 3, 8, 8)
    assert len(seen) == 3
    with pytest.raises(UsageError, match="only heatmaps can be averaged; emit it with --no-postpr"):
        task.predict(lambda _: {"keypoints": images, "scores": images}, images)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 16 joints; the data set has 3 \(left_hand"):
        TASK.check_network({"task": "pose", "num_classes": 16})
    TASK.check_network({"task": "seg", "num_classes": 16})
    with pytest.raises(UsageError, match=r"m.onnx: 4 joints; the data set has 3"):
        TASK.decoded({"y": torch.zeros(1, 4, 8, 8)}, (32, 32), "m.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"wanted heatmaps \(N, 3, h, w\), or keypoi"):
        TASK.decoded({"y": torch.zeros(1, 4)}, (32, 32), "m.onnx")
    with pytest.raises(UsageError, match="sigma 0: wanted a number of cells above zero"):
        PoseSettings(sigma=0)
    with pytest.raises(DataError, match=r"no joint can be measured in PCK@0.2: wanted labelled"):
        TASK.evaluation([], (32, 32), MANIFEST).compute()  # type: ignore[arg-type]


def test_cached_samples_are_the_same(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_person(i, bbox=[20, 10, 10 + i, 12]) for i in range(3)])
    dataset = read_coco_keypoints(tmp_path).split("train")
    task = Pose(COCO)
    batches = BatchSettings(scale=(0.75, 1.25), rotation=30)
    kept = task.cached(dataset, batches, MANIFEST)
    transform = task.train_transform(batches, MANIFEST)
    for index in range(3):
        assert kept[index][0].numel() < dataset[index][0].numel()
        one, other = (
            transform(*d[index], np.random.Generator(np.random.PCG64(7))) for d in (dataset, kept)
        )
        assert (one[0] - other[0]).abs().max() < 0.05
        assert torch.allclose(one[1], other[1], atol=1e-4)


def test_pictures(tmp_path: Path) -> None:
    write_mpii(tmp_path, [mpii_person(i) for i in range(2)])
    dataset, task = read_mpii(tmp_path).split("train"), Pose(MPII)
    targets, maps = (values[:1] for values in perfect(dataset, task, (64, 64)))
    outputs = {"keypoints": targets[..., :2], "scores": torch.ones(1, 16)}
    paths = task.pictures(
        dataset, [outputs, {"heatmaps": maps}], tmp_path / "out", (64, 64), MANIFEST
    )
    assert [p.name for p in paths] == ["prediction_00-p0-0.png", "prediction_01-p1-1.png"]
    with Image.open(paths[0]) as picture:
        pixels = np.array(picture)
    side = 320  # five times the input
    assert pixels.shape == (side, 3 * side + 2 * GAP_PIXELS, 3)
    plain, truth, found = (pixels[:, i * (side + GAP_PIXELS) :][:, :side] for i in range(3))
    assert (plain != truth).any()
    assert (plain != found).any()
    # the right wrist is orange in both; joint 2 is not labelled, so only the prediction has it
    x, y = (targets[0, 10, :2].numpy() * 5 + 2).astype(int)
    assert tuple(truth[y, x]) == tuple(found[y, x]) == (255, 120, 60)
    assert (truth != found).any()


def test_a_source_without_joints_is_refused() -> None:
    with pytest.raises(UsageError, match="scenes has no joints; wanted a data set of persons"):
        make_task("pose", NoJoints())  # type: ignore[arg-type]


class NoJoints:
    name = "scenes"
