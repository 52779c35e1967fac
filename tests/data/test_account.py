"""The account of a data set: what it counts, refuses and tells; what a metric hides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fnac.data.account import MADE_UP, checked_account, take_account
from fnac.data.sets.joints import COCO, JointSet
from fnac.data.spec import open_data
from fnac.errors import DataError
from fnac.findings import Finding
from fnac.tasks.base import Scores
from fnac.tasks.collapse import class_findings
from fnac.tasks.segmentation import Segmentation


def folder(root: Path, train: list[np.ndarray], val: list[np.ndarray], classes: str) -> str:
    for split, masks in (("train", train), ("val", val)):
        for number, mask in enumerate(masks):
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            shape = (*mask.shape, 3)
            grey = np.full(shape, split == "val", np.uint8)
            Image.fromarray(grey).save(root / f"images/{split}/{number}.png")
            Image.fromarray(mask.astype(np.uint8)).save(root / f"masks/{split}/{number}.png")
    (root / "classes.txt").write_text("\n".join(classes.split()))
    return f"folder:{root}"


def test_pixels_are_counted_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = np.zeros((2, 4)), np.array([[0, 1, 1, 255], [0, 0, 0, 0]])
    spec = folder(tmp_path, [first, second], [first], "ground thing rare")
    with caplog.at_level("INFO"):
        account = checked_account(open_data(spec), "seg", "val")
    train = account.split("train")
    assert (train.amounts, train.samples_with) == ((13, 2, 0), (2, 1, 0))
    assert (train.ignored, train.unlabelled, train.samples, train.whole) == (1, 0, 2, True)
    assert account.as_text() == (
        "data    folder: train 2, val 1 images\n"
        "class      train pixels  images  val pixels  images\n"
        "---------  ------------  ------  ----------  ------\n"
        "ground           86.67%       2     100.00%       1\n"
        "thing            13.33%       1           0       0\n"
        "rare                  0       0           0       0\n"
        "(ignored)         6.25%                   0"
    )
    assert account.as_text() in caplog.text
    assert account.findings() == (
        Finding(
            "class-never-trained",
            "data: class 'rare' never occurs in 'train': it cannot be trained",
        ),
        Finding(
            "class-not-measured",
            "data: 2 classes never occur in 'val': the metric says nothing of them "
            "('thing', 'rare')",
        ),
    )
    assert json.loads(json.dumps(account.as_json()))["splits"]["train"]["amounts"] == [13, 2, 0]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.array([[0, 255], [0, 0]]),
            "folder: 'ground' alone occurs in 'train', 'thing' never; wanted at least two classes "
            "to tell apart; 25.00% of the pixels are 255 or another id that is ignored: if that id "
            "is a class, say so in a YAML file as --data (reader: folder, path: ..., ids: {255: "
            "thing})",
        ),
        (
            np.zeros((2, 2)),
            "folder: 'ground' alone occurs in 'train', 'thing' never; wanted at least two classes "
            "to tell apart; correct the labels, or the list of classes",
        ),
        (
            np.full((2, 2), 255),
            "folder: nothing is labelled in 'train': all 4 pixels of 1 masks are ignored; wanted "
            "pixels of a class to be trained on; 100.00% of the pixels are 255 or another id that "
            "is ignored: if that id is a class, say so in a YAML file as --data (reader: folder, "
            "path: ..., ids: {255: ground})",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    spec = folder(tmp_path, [mask], [np.array([[0, 1]])], "ground thing")
    with pytest.raises(DataError) as caught:
        checked_account(open_data(spec), "seg", "val")
    assert str(caught.value) == message


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    spec = folder(tmp_path, [np.array([[0, 1]])], [np.full((2, 2), 255)], "ground thing")
    with pytest.raises(DataError, match=r"nothing is labelled in 'val': .* to be measured"):
        checked_account(open_data(spec), "seg", "val")
    assert checked_account(open_data(spec), "seg", None).measured is None


def test_training_that_nothing_measures_is_told(tmp_path: Path) -> None:
    spec = folder(tmp_path, [np.array([[0, 1]])], [np.array([[0, 1]])], "ground thing")
    for kind in ("images", "masks"):
        (tmp_path / kind / "val").rename(tmp_path / kind / "test")
    (finding,) = take_account(open_data(spec), "seg", None).findings()
    assert finding.kind == "nothing-measured"
    assert "no split 'val' (found " in finding.text


def test_much_that_is_ignored_is_told(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 255, 255]])
    account = take_account(open_data(folder(tmp_path, [mask], [mask], "a b")), "seg", "val")
    account.refuse()
    (finding,) = account.findings()
    assert finding.kind == "ignored-share"
    assert finding.text.startswith("data: 50% of the pixels of 'train' are ignored")


def coco(root: Path, boxes: dict[str, list[int]]) -> str:
    (root / "annotations").mkdir(parents=True)
    for split, labels in boxes.items():
        (root / split).mkdir()
        colour = (len(split), 0, 0)
        Image.new("RGB", (20, 20), colour).save(root / split / "a.png")
        content = {
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": label, "bbox": [1 + i, 2, 3, 4]}
                for i, label in enumerate(labels)
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return f"coco:{root}"


def test_boxes(tmp_path: Path) -> None:
    account = take_account(
        open_data(coco(tmp_path / "a", {"train": [1, 1], "val": [2]}), "det"), "det", "val"
    )
    account.refuse()
    assert [split.amounts for split in account.splits] == [(2, 0), (0, 1)]
    assert [finding.kind for finding in account.findings()] == [
        "class-never-trained", "class-not-measured",
    ]  # fmt: skip
    for name, boxes, message in (
        ("b", {"train": [], "val": [1]}, "nothing is labelled in 'train': 1 images without a box"),
        ("c", {"train": [1], "val": []}, "nothing is labelled in 'val': 1 images without a box"),
    ):
        account = take_account(open_data(coco(tmp_path / name, boxes), "det"), "det", "val")
        with pytest.raises(DataError, match=message):
            account.refuse()


def test_class_folders(tmp_path: Path) -> None:
    places = "train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/dog/d.png"
    for number, place in enumerate(places):
        (tmp_path / place).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / place)
    account = take_account(open_data(f"folder:{tmp_path}", "cls"), "cls", "val")
    assert [split.amounts for split in account.splits] == [(1, 1), (1, 1)]
    assert account.findings() == ()
    (tmp_path / "train/dog/b.png").unlink()
    with pytest.raises(DataError, match="'cat' alone occurs in 'train', 'dog' never"):
        take_account(open_data(f"folder:{tmp_path}", "cls"), "cls", "val").refuse()


@pytest.mark.parametrize("task", ["seg", "det", "pose", "cls"])
def test_scenes_are_counted_in_part(task: str) -> None:
    source = open_data("scenes:train=80,val=3,size=32", task)
    account = take_account(source, task, "val")
    account.refuse()
    train = account.split("train")
    assert (train.counted, train.samples) == (MADE_UP, len(source.split("train")))
    assert f"train: counted are the first {MADE_UP}" in account.as_text()
    assert all(name.startswith("data") or name for name in account.as_text().splitlines())
    dataset = source.split("val")
    if task == "seg":
        wanted = sum(int((dataset[i][1] == 0).sum()) for i in range(3))
        assert account.split("val").amounts[0] == wanted


def test_a_joint_without_its_other_side_is_told() -> None:
    account = take_account(open_data("scenes:train=8,val=8,size=32", "pose"), "pose", "val")
    assert "unpaired-joints" not in [finding.kind for finding in account.findings()]
    assert COCO.unpaired == ()
    assert JointSet(("left_wing", "beak"), (), "AP").unpaired == ("left_wing",)


# ------------------------------------------------------------------------------------ metrics


def test_a_network_that_says_one_thing_is_told() -> None:
    names, true = ("sky", "road", "car"), torch.tensor([5, 4, 0])
    one, absent = class_findings(names, torch.tensor([9, 0, 0]), true, "pixels")
    assert one.kind == "one-class-predicted"
    assert one.text.startswith(
        "the network predicts 'sky' for all pixels: it distinguishes nothing"
    )
    assert absent == Finding(
        "class-not-measured",
        "the metric is over 2 of 3 classes: no pixels of 'car' in what was measured",
    )
    assert class_findings(names, torch.tensor([3, 3, 3]), torch.tensor([3, 3, 3]), "pixels") == ()
    alone = class_findings(names[:1], torch.tensor([9]), torch.tensor([9]), "pixels")
    assert alone == (), "where one class is all there is, saying it everywhere is right"


def test_segmentation_tells_of_a_collapse() -> None:
    task = Segmentation(("a", "b", "c"))
    evaluation = task.evaluation([], (2, 2), {})  # type: ignore[arg-type]
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    evaluation.add([0], {"labels": labels}, torch.tensor([[[0, 1], [255, 1]]]))
    scores = evaluation.compute()
    assert isinstance(scores, Scores)
    assert [finding.kind for finding in scores.findings] == [
        "one-class-predicted", "class-not-measured",
    ]  # fmt: skip
