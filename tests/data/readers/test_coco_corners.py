"""Boxes that a COCO file gives as corners are told by the whole file; right ones are not."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fnac.data.readers.coco import read_coco
from fnac.data.readers.coco_corners import FEW, look_like_corners

SIDE = 200


def sides(count: int, large: bool = False) -> np.ndarray:
    """Return (count, 4): x, y, width, height of boxes inside an image; ``large``: centred ones."""
    rng = np.random.default_rng(0)
    if large:
        first = rng.uniform(0.05, 0.25, (count, 2)) * SIDE
        last = rng.uniform(0.75, 0.95, (count, 2)) * SIDE
    else:
        ends = np.sort(rng.uniform(0, SIDE, (count, 2, 2)), axis=1)
        first, last = ends[:, 0], ends[:, 1] + 1
    return np.concatenate([first, last - first], axis=1)


def corners_inside(count: int) -> np.ndarray:
    """Return corners that stay inside when they are read as sides."""
    rng = np.random.default_rng(1)
    first = rng.uniform(0, 0.4, (count, 2)) * SIDE
    return np.concatenate([first, first + rng.uniform(0.05, 0.2, (count, 2)) * SIDE], axis=1)


def rows(boxes: np.ndarray, areas: np.ndarray | float = np.nan) -> list[list[float]]:
    more = np.broadcast_to(areas, len(boxes))
    return [[*box, SIDE, SIDE, area] for box, area in zip(boxes.tolist(), more, strict=True)]


def test_corners_are_told_by_their_areas_or_by_how_they_go_together() -> None:
    found = corners_inside(40)
    assert look_like_corners(rows(found))
    right = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    assert look_like_corners(rows(found, right))
    large = sides(40, large=True)
    as_corners = np.concatenate([large[:, :2], large[:, :2] + large[:, 2:]], axis=1)
    assert look_like_corners(rows(as_corners, large[:, 2] * large[:, 3]))


@pytest.mark.parametrize("large", [False, True])
def test_sides_are_not_taken_for_corners(large: bool) -> None:
    found = sides(200, large)
    assert not look_like_corners(rows(found))
    assert not look_like_corners(rows(found, found[:, 2] * found[:, 3]))
    assert not look_like_corners(rows(found, 0.6 * found[:, 2] * found[:, 3]))  # of a mask


def test_of_a_few_boxes_nothing_is_said() -> None:
    assert not look_like_corners(rows(corners_inside(FEW - 1)))
    assert not look_like_corners([])


@pytest.mark.parametrize("corners", [False, True])
def test_the_reader_warns(corners: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = corners_inside(FEW) if corners else sides(FEW)
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": 1, "file_name": "a.png", "width": SIDE, "height": SIDE}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": box.round(1).tolist()}
            for n, box in enumerate(boxes)
        ],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    (tmp_path / "train").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "train" / "a.png")
    with caplog.at_level(logging.WARNING, "fnac"):
        read_coco(tmp_path).split("train")
    assert ("look like corners" in caplog.text) == corners


@pytest.mark.parametrize("name", ["coco_mini", "bccd"])
def test_real_files_are_read_without_a_word(
    name: str, shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted((shared_data / name).rglob("*.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text())
        if "annotations" not in content:
            continue
        images = {image["id"]: image for image in content["images"]}
        found = [
            [*one["bbox"], *(images[one["image_id"]][side] for side in ("width", "height")),
             one.get("area", np.nan)]
            for one in content["annotations"]
        ]  # fmt: skip
        assert not look_like_corners(found)
