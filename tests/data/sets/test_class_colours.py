"""The colours that a data set gives its classes are those of its truth and its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fnac.data import open_data
from fnac.data.readers.camvid import CLASSES
from fnac.data.sets.masks import class_colours
from fnac.tasks import make_task
from fnac.tasks.panels import GAP_PIXELS, palette

SKY, BUILDING, VOID = (128, 128, 128), (128, 0, 0), (0, 0, 0)
GREY = [(i, i, i) for i in range(12)]


def camvid(root: Path, colours: list[tuple[int, int, int]] | None) -> Path:
    """Write one image of sky, building and void; masks with a palette, or plain grey ones."""
    for folder in ("images/train", "images/val", "labels/train", "labels/val"):
        (root / folder).mkdir(parents=True)
    ids = np.repeat(np.array([[0, 1, 11, 0]], np.uint8), 4, axis=0)
    for split in ("train", "val"):
        Image.new("RGB", (4, 4), "white").save(root / "images" / split / "a.png")
        mask = Image.fromarray(ids)
        if colours is not None:
            mask = mask.copy()
            mask.putpalette([part for colour in colours for part in colour])
        mask.save(root / "labels" / split / "a.png")
        (root / f"{split}.txt").write_text("a\n")
    return root


def test_a_palette_in_the_masks_colours_truth_prediction_and_legend(tmp_path: Path) -> None:
    others = [(i, 200, 3 * i) for i in range(9)]
    source = open_data(f"camvid:{camvid(tmp_path, [SKY, BUILDING, *others, VOID])}", "seg")
    assert class_colours(source) == dict(enumerate([SKY, BUILDING, *others]))
    task = make_task("seg", source)
    assert task.legend()[:2] == [("sky", SKY), ("building", BUILDING)]
    assert task.legend()[-1] == ("ignored", VOID)
    logits = torch.zeros(1, len(CLASSES), 4, 4)
    logits[:, 1] = 1  # all is building
    picture = np.asarray(
        task.picture(source.split("val")[0], {"logits": logits}, (4, 4), {})  # type: ignore[attr-defined]
    )
    truth, predicted = (picture[0, at * (4 + GAP_PIXELS) :][:4].tolist() for at in (1, 2))
    assert truth == [list(colour) for colour in (SKY, BUILDING, VOID, SKY)]
    assert predicted == [list(BUILDING)] * 4


@pytest.mark.parametrize("colours", [None, GREY, [SKY] * 12], ids=["none", "grey", "one colour"])
def test_colours_that_tell_no_classes_apart_are_not_taken(
    tmp_path: Path, colours: list[tuple[int, int, int]] | None
) -> None:
    source = open_data(f"camvid:{camvid(tmp_path, colours)}", "seg")
    assert class_colours(source) == {}
    first = make_task("seg", source).legend()[1]
    assert first == ("building", tuple(palette()[1].tolist()))


def test_a_list_of_colours_is_the_palette(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abcde":
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / f"{name}.png")
        Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "colours.txt").write_text("9 8 7 road\n200 0 0 car\n0 0 0 void\n")
    source = open_data(f"folder:{tmp_path}", "seg")
    assert class_colours(source) == {0: (9, 8, 7), 1: (200, 0, 0)}


def test_built_in_scenes_have_the_usual_palette() -> None:
    source = open_data("scenes:train=2,val=2,size=32", "seg")
    assert class_colours(source) == {}
