"""What no single sample shows: images in two splits, boxes twice, mixed palettes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.data.account import take_account
from fnac.data.spec import open_data
from fnac.errors import DataError

WRONG = "images-in-both", "images-twice-train", "boxes-twice-train", "mixed-palettes"


def doubtful(spec: str, task: str, measured: str | None = "val") -> dict[str, str]:
    findings = take_account(open_data(spec, task), task, measured).findings()
    return {one.kind: one.text for one in findings if one.kind in WRONG}


def masks(root: Path, palettes: Sequence[Sequence[int]], same: bool = False) -> str:
    """Write two images a split; masks have these palettes in turn, and every mask 0 and 1."""
    numbers = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(2):
            image = root / f"images/{split}/{split if not same else ''}{number}.png"
            pixels = numbers.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            if same and split == "val" and number:
                pixels = np.asarray(Image.open(root / "images/train/1.png"))
            Image.fromarray(pixels).save(image)
            mask = Image.fromarray(np.eye(8, dtype=np.uint8), "P")
            mask.putpalette(palettes[number % len(palettes)])
            mask.save(root / f"masks/{split}/{image.name}")
    (root / "classes.txt").write_text("ground\nthing\n")
    return f"folder:{root}"


def boxes(root: Path, corners: Sequence[Sequence[float]]) -> str:
    """Write one image a split with these boxes (x, y, width, height), all of one class."""
    (root / "annotations").mkdir(parents=True)
    for place, split in enumerate(("train", "val")):
        (root / split).mkdir()
        Image.fromarray(np.full((8, 8, 3), place, np.uint8)).save(root / split / "a.png")
        content = {
            "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 1, "bbox": list(box)}
                for i, box in enumerate(corners)
            ],
            "categories": [{"id": 1, "name": "thing"}],
        }
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return f"coco:{root}"


RED = (0, 0, 0, 200, 0, 0)
OTHER = (200, 0, 0, 0, 0, 0)


def test_an_image_in_both_splits_is_told(tmp_path: Path) -> None:
    spec = masks(tmp_path, [RED], same=True)
    assert doubtful(spec, "seg") == {
        "images-in-both": "data: 1 of 2 images of 'val' are in 'train' as well (images/val/1.png "
        "is images/train/1.png): the metric is of images that were trained on; remove them from "
        "one of the two"
    }
    assert doubtful(spec, "seg", measured=None) == {}
    assert doubtful(masks(tmp_path / "others", [RED]), "seg") == {}


def test_palettes_that_differ_are_told(tmp_path: Path) -> None:
    told = doubtful(masks(tmp_path, [RED, OTHER]), "seg")
    assert told == {
        "mixed-palettes": "data: index 0 of the palette is 0 0 0 in train0.png and 200 0 0 in "
        "train1.png: the index counts as the class, not the colour; if the colour says the class, "
        "give the colours in colours.txt ('R G B NAME' per line)"
    }


def test_colours_of_ids_that_do_not_occur_do_not_matter(tmp_path: Path) -> None:
    assert doubtful(masks(tmp_path, [RED, (*RED, 9, 9, 9)]), "seg") == {}


def test_colours_of_high_ids_are_the_palette_s_own(tmp_path: Path) -> None:
    masks(tmp_path, [[0] * 600 + [200, 0, 0], [0] * 600 + [0, 200, 0]])
    for mask in tmp_path.glob("masks/*/*.png"):
        image = Image.open(mask)
        image.putdata([200] * 64)
        image.save(mask)
    spec = tmp_path / "data.yaml"
    spec.write_text("reader: folder\npath: .\nids: {0: ground, 200: thing}\n")
    told = doubtful(str(spec), "seg")
    assert "index 200 of the palette is 200 0 0 in train0.png and 0 200 0" in told["mixed-palettes"]


def test_an_image_that_is_listed_twice_is_told(tmp_path: Path) -> None:
    """Its labels count twice in training and in the metric."""
    for name in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), 50 * len(name)).save(tmp_path / f"images/{name}.png")
        (tmp_path / f"labels/{name}.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "train.txt").write_text("images/train.png\nimages\\train.png\n")
    (tmp_path / "val.txt").write_text("images/val.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [thing]\n")
    assert doubtful(f"yolo:{tmp_path}", "det") == {
        "images-twice-train": "data: 1 image is listed more than once in 'train' (first "
        "train.png), and trained on and measured that often; list each image once"
    }


def test_boxes_that_are_there_twice_are_told(tmp_path: Path) -> None:
    told = doubtful(boxes(tmp_path, [[1, 1, 4, 4], [1, 1, 4, 4], [2, 1, 4, 4]]), "det")
    assert told == {
        "boxes-twice-train": "data: 1 box is in 'train' twice, with the same corners and class "
        "(first in a.png): no network can find the second of two, which lowers the metric; "
        "remove them"
    }
    assert doubtful(boxes(tmp_path / "once", [[1, 1, 4, 4], [2, 1, 4, 4]]), "det") == {}


def test_crowds_alone_are_named(tmp_path: Path) -> None:
    spec = boxes(tmp_path, [[1, 1, 4, 4]])
    for file in tmp_path.glob("annotations/*.json"):
        content = json.loads(file.read_text())
        content["annotations"][0]["iscrowd"] = 1
        file.write_text(json.dumps(content))
    account = take_account(open_data(spec, "det"), "det", "val")
    with pytest.raises(DataError, match="'train': all 1 boxes are crowds or difficult, which are"):
        account.refuse()
