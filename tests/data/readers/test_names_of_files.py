"""Names that differ in coding alone are one name; one file is one image; a class called train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.data.readers.class_folders import read_class_folders
from fnac.data.readers.coco import read_coco
from fnac.data.readers.folder import FolderOptions, read_folder
from fnac.data.spec import open_data
from fnac.errors import DataError

COMPOSED, DECOMPOSED = "B\u00e4r", "Ba\u0308r"
"""One name as Linux and Windows code it, and as macOS does."""


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10)).save(path)
    return path


def coco(root: Path, names: list[str]) -> Path:
    """Write a box in each of the images that ``names`` names, of one class."""
    content = {
        "categories": [{"id": 4, "name": COMPOSED}],
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 4, "bbox": [1, 2, 3, 4]}
            for i in range(len(names))
        ],
    }
    (root / "annotations").mkdir(parents=True)
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return root


def test_coco_names_in_another_coding(tmp_path: Path) -> None:
    picture(tmp_path / "train" / f"{DECOMPOSED} 1.png")
    source = read_coco(coco(tmp_path, [f"upload/{COMPOSED}%201.png"]), classes=[COMPOSED])
    source.check()
    assert source.split("train")[0][1].tolist() == [[1, 2, 4, 6, 0]]


def test_a_file_that_two_records_name_is_one_image(tmp_path: Path) -> None:
    """Where folders are missing, names of other folders lead to the same file."""
    for name in ("a.png", "b.png"):
        picture(tmp_path / "train" / name)
    coco(tmp_path, ["one/a.png", "b.png", "two/a.png"])
    message = f"images 0 and 2 are both {tmp_path}/train/a.png; wanted each file once"
    with pytest.raises(DataError, match=message):
        read_coco(tmp_path).split("train")
    assert len(read_coco(tmp_path, skip_bad=True).split("train")) == 2


def test_voc_classes_in_another_coding(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "classes.txt").write_text(f"{COMPOSED}\ncat\n")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(
        f"<annotation><object><name>{DECOMPOSED}</name><bndbox><xmin>2</xmin><ymin>3</ymin>"
        "<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    assert open_data(f"voc:{tmp_path}", "det").split("train")[0][1].tolist() == [[1, 2, 9, 8, 0]]


def test_class_folders_in_another_coding(tmp_path: Path) -> None:
    for place in (f"train/{COMPOSED}/a", f"val/{DECOMPOSED}/b", "train/cat/c", "val/cat/d"):
        picture(tmp_path / f"{place}.png")
    source = read_class_folders(tmp_path)
    assert source.classes == [COMPOSED, "cat"]
    assert {s: [f.label for f in source.split(s).files] for s in source.splits} == {
        "train": [0, 1], "val": [0, 1],
    }  # fmt: skip


@pytest.mark.parametrize("names", [("bus", "train"), ("control", "test"), ("test", "train", "x")])
def test_a_class_may_be_called_as_a_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for number in range(5):
            picture(tmp_path / name / f"{number}.png")
    source = read_class_folders(tmp_path)
    assert source.classes == sorted(names)
    assert [len(source.split(s)) for s in ("train", "val")] == [4 * len(names), len(names)]


def test_splits_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    for name in ("train", "val"):
        picture(tmp_path / name / "a.png")
    with pytest.raises(DataError, match="no class folder with images in it"):
        read_class_folders(tmp_path)


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    """Which of them is meant, no name says."""
    for number in range(2):
        picture(tmp_path / "images" / f"{number}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        for end in ("gt", "seg"):
            mask = np.full((10, 20), end == "seg", np.uint8)
            Image.fromarray(mask).save(tmp_path / "masks" / f"{number}_{end}.png")
    with pytest.raises(DataError, match=r"0_seg\.png: 0_gt\.png is a mask of 0\.png as well"):
        read_folder(tmp_path, FolderOptions(classes=["a", "b"]))
