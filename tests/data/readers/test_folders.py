"""ADE20K, Pascal VOC segmentation and class folders: layouts, labels, what is named when wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fnac.data import open_data
from fnac.data.readers.ade20k import read_ade20k
from fnac.data.readers.class_folders import read_class_folders
from fnac.data.readers.voc_segmentation import CLASSES, read_voc_segmentation
from fnac.data.sets.listed import on_threads
from fnac.errors import DataError
from tests.support.persons import write_picture


def test_a_long_check_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert list(on_threads(str, range(100))) == [str(i) for i in range(100)]
    assert caplog.messages == [], "nobody waits for a short one"
    monkeypatch.setattr("fnac.progress.LINE_EVERY_S", 0.0)
    assert len(list(on_threads(str, range(100)))) == 100
    assert [line.split(",")[0] for line in caplog.messages] == [
        "check: file 64 of 100",
        "check: file 100 of 100",
    ]


def write_mask(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(ids.astype(np.uint8), "L").convert("P")
    mask.putpalette([(7 * i) % 256 for i in range(768)])
    mask.putdata(ids.ravel().tolist())
    mask.save(path)


def ade(root: Path, ids: np.ndarray) -> None:
    write_picture(root / "images" / "training" / "a.jpg", *ids.shape)
    write_mask(root / "annotations" / "training" / "a.png", ids)
    rows = [f"{i}\t0.1\t1\t1\tthing {i}, object" for i in range(1, 151)]
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(rows))


def test_ade20k_labels_and_errors(tmp_path: Path) -> None:
    ade(tmp_path, np.array([[0, 1, 2], [150, 75, 1]]))
    source = read_ade20k(tmp_path)
    source.check()
    assert source.splits == ("train",)
    assert source.classes[::149] == ["thing 1", "thing 150"]
    _, mask = source.split("train")[0]
    assert mask.tolist() == [[255, 0, 1], [149, 74, 0]]
    ade(tmp_path, np.array([[0, 151]]))
    with pytest.raises(DataError, match=r"a.png: label id 151; wanted 1..150 or 0 \(ignore\)"):
        read_ade20k(tmp_path).check()
    (tmp_path / "objectInfo150.txt").write_text("Idx\n1 2 3 4 wall\n")
    with pytest.raises(DataError, match=r"objectInfo150.txt: 1 classes; wanted 'Idx Ratio Train"):
        read_ade20k(tmp_path)
    (tmp_path / "objectInfo150.txt").unlink()
    with pytest.raises(
        DataError, match=r"objectInfo150.txt: no such file; wanted the names of the"
    ):
        read_ade20k(tmp_path)


def test_ade20k_genuine(shared_data: Path) -> None:
    root = shared_data / "fixtures" / "ade20k"
    source = read_ade20k(root)
    source.check()
    assert source.classes[:3] == ["wall", "building", "sky"]
    assert len(set(source.classes)) > 140
    dataset = source.split("val")
    assert [dataset.id(i) for i in range(3)] == [f"ADE_val_0000000{i}" for i in (1, 2, 3)]
    for index in range(3):
        stored = np.array(Image.open(root / f"annotations/validation/{dataset.id(index)}.png"))
        mask = dataset[index][1].numpy()
        assert ((mask == 255) == (stored == 0)).all()
        assert (mask[stored > 0] == stored[stored > 0] - 1).all()


def voc(root: Path, ids: np.ndarray) -> None:
    write_picture(root / "JPEGImages" / "2007_1.jpg", *ids.shape)
    write_mask(root / "SegmentationClass" / "2007_1.png", ids)
    listing = root / "ImageSets" / "Segmentation"
    listing.mkdir(parents=True, exist_ok=True)
    (listing / "train.txt").write_text("2007_1\n")
    (listing / "trainval.txt").write_text("2007_1\n")


def test_voc_labels_and_folders(tmp_path: Path) -> None:
    ids = np.array([[0, 20, 255], [15, 7, 0]])
    voc(tmp_path / "VOCdevkit" / "VOC2012", ids)
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        source = read_voc_segmentation(root)
        source.check()
        assert source.splits == ("train",)
        assert source.split("train")[0][1].tolist() == ids.tolist()
    assert (len(CLASSES), CLASSES[0], CLASSES[15]) == (21, "background", "person")
    voc(tmp_path / "VOCdevkit" / "VOC2007", np.array([[21]]))
    with pytest.raises(DataError, match="VOC2007, VOC2012; wanted one year; give its own path"):
        read_voc_segmentation(tmp_path)
    with pytest.raises(DataError, match=r"2007_1.png: label id 21; wanted 0..20 or 255"):
        read_voc_segmentation(tmp_path / "VOCdevkit" / "VOC2007").check()


@pytest.mark.parametrize(
    "line", ["a.jpg", "JPEGImages/a.jpg SegmentationClass/a.png", "# these\n/JPEGImages/a.jpg"]
)
def test_lists_with_folders_and_suffixes(tmp_path: Path, line: str) -> None:
    voc(tmp_path, np.array([[1]]))
    listing = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    name = listing.read_text().split()[0]
    listing.write_text(line.replace("/a.", f"/{name}.").replace("a.jpg", f"{name}.jpg"))
    source = read_voc_segmentation(tmp_path)
    source.check()
    assert len(source.split("train")) == 1


def test_a_set_of_other_classes_in_vocs_layout_is_refused(tmp_path: Path) -> None:
    voc(tmp_path, np.array([[1]]))
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nroad:128,64,128::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt: VOC's segmentation has classes of"):
        read_voc_segmentation(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "background\naeroplane\nbicycle\n"),
        ("labelmap.txt", "background:0,0,0::\naeroplane:128,0,0::\nborder:224,224,192::\n"),
    ],
)
def test_vocs_own_names_beside_its_masks_are_no_others(
    tmp_path: Path, name: str, text: str
) -> None:
    voc(tmp_path, np.array([[1]]))
    (tmp_path / name).write_text(text)
    assert len(read_voc_segmentation(tmp_path).split("train")) == 1


def test_voc_without_masks_or_lists(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(DataError, match="no SegmentationClass folder, here or in VOC20"):
        read_voc_segmentation(shared_data / "fixtures" / "voc" / "VOCdevkit")
    voc(tmp_path, np.array([[0]]))
    (tmp_path / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(DataError, match=r"no train.txt, val.txt or test.txt with names"):
        read_voc_segmentation(tmp_path)


def test_masks_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voc(tmp_path, np.array([[0, 1]]))
    write_picture(tmp_path / "JPEGImages" / "b.jpg", 1, 2)
    write_mask(tmp_path / "SegmentationClass" / "b.png", np.array([[0, 30]]))
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("2007_1\nb\n")
    with caplog.at_level(logging.WARNING):
        source = read_voc_segmentation(tmp_path, skip_bad=True)
    source.check()
    assert len(source.split("train")) == 1
    assert caplog.messages[0].startswith(
        f"{tmp_path}: 1 of 2 samples of 'train' are left out; the first: {tmp_path}/Segm"
    )


def classes(root: Path, split: str = "", names: tuple[str, ...] = ("cat", "ape")) -> None:
    for name in names:
        for number in range(5):
            write_picture(root / split / name / f"{number}.jpg", 4, 6)


def test_class_folders(tmp_path: Path) -> None:
    classes(tmp_path, "train")
    classes(tmp_path, "val", ("cat",))
    source = read_class_folders(tmp_path)
    source.check()
    assert source.classes == ["ape", "cat"]
    assert source.splits == ("train", "val")
    image, label = source.split("val")[0]
    assert (tuple(image.shape), image.dtype) == ((3, 4, 6), torch.uint8)
    assert (int(label), label.dtype, label.shape) == (1, torch.int64, ())
    assert source.split("train").id(0) == "ape-0"
    (tmp_path / "classes.txt").write_text("cat\ndog\nape\n")
    source = read_class_folders(tmp_path)
    assert [int(label) for _, label in map(source.split("train").__getitem__, range(10))] == (
        [0] * 5 + [2] * 5
    )
    with pytest.raises(
        DataError, match="class folders ape are not among the classes; correct classes"
    ):
        read_class_folders(tmp_path, classes=["cat", "dog"])


@pytest.mark.parametrize("names", [("1 euro", "2 euros"), ("C#", "F#")])
def test_names_of_classes_that_look_like_something_else(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    classes(tmp_path, "train", names)
    (tmp_path / "classes.txt").write_text("\n".join(reversed(names)))
    assert read_class_folders(tmp_path).classes == [*reversed(names)]


def test_folders_beside_the_splits_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes(tmp_path, "train")
    classes(tmp_path, "dev", ("cat",))
    (tmp_path / "test").mkdir()
    image = next((tmp_path / "train" / "ape").iterdir())
    image.rename(tmp_path / "test" / image.name)
    assert read_class_folders(tmp_path).classes == ["ape", "cat"]
    assert f"{tmp_path}/dev: its 5 images are not read: wanted train, val or test" in caplog.text
    assert f"{tmp_path}/test: its 1 images are not read" in caplog.text


def test_a_data_set_inside_of_a_folder_is_pointed_to(tmp_path: Path) -> None:
    classes(tmp_path, "whole")
    with pytest.raises(DataError, match=r"one class folder alone, whole; .*folder:.*/whole\?\)"):
        read_class_folders(tmp_path)


def test_class_folders_without_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classes(tmp_path)
    with caplog.at_level(logging.INFO):
        source = read_class_folders(tmp_path, val_fraction=0.4)
    assert "4 of 10 images (40 % of each class" in caplog.text
    for split, count in (("train", 3), ("val", 2)):
        labels = [file.label for file in source.split(split).files]
        assert labels == [0] * count + [1] * count
        again = read_class_folders(tmp_path, val_fraction=0.4).split(split)
        assert again.files == source.split(split).files
    (tmp_path / "cat" / "3.jpg").write_text("no image")
    with pytest.raises(
        DataError, match=r"3.jpg: cannot be decoded \(not an image of a known format\)"
    ):
        read_class_folders(tmp_path).check()
    kept = read_class_folders(tmp_path, skip_bad=True)
    kept.check()
    assert sum(len(kept.split(s)) for s in kept.splits) == 9
    with pytest.raises(DataError, match="no class folder with images in it; wanted train/CLASS/"):
        read_class_folders(tmp_path / "cat")


def test_specs_of_folders(tmp_path: Path) -> None:
    voc(tmp_path / "voc", np.array([[0, 30]]))
    ade(tmp_path / "ade", np.array([[0, 1]]))
    classes(tmp_path / "cls")
    assert open_data(f"ade20k:{tmp_path}/ade").name == "ade20k"
    assert open_data(f"voc:{tmp_path}/voc", "seg").name == "voc"
    with pytest.raises(DataError, match="split 'train' has no images"):
        open_data(f"voc:{tmp_path}/voc", "seg", skip_bad=True).split("train")
    assert open_data(f"folder:{tmp_path}/cls", "cls").classes == ["ape", "cat"]
