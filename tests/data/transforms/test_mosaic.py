"""Mosaics: boxes stay on their objects, to the pixel; off by default, for detection only."""

from __future__ import annotations

import pytest
import torch

from fnac.data.transforms.boxes import LEAST_SHARE
from fnac.data.transforms.mosaic import Mosaic, _place
from fnac.errors import UsageError
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks.classification import Classification
from fnac.tasks.detection.task import Detection
from fnac.training.mixing import open_mixing

HEIGHT, WIDTH = 32, 48
DET = Detection(tuple("abcdef"))


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of one object each, whose value is 10 and its class; in each another place."""
    images = torch.ones(count, 3, HEIGHT, WIDTH)
    truths = torch.full((count, 2, 5), -1.0)
    for one in range(count):
        left, top = 4 * one, 2 * one
        truths[one, 0] = torch.tensor([left, top, left + 20, top + 16, one])
        images[one, :, top : top + 16, left : left + 20] = 10 + one
    return images, truths


@pytest.mark.parametrize("seed", range(12))
def test_every_box_lies_on_its_object(seed: int) -> None:
    torch.manual_seed(seed)
    images, truths = Mosaic(1.0)(*batch())
    assert images.shape == (6, 3, HEIGHT, WIDTH)
    for place, (image, rows) in enumerate(zip(images[:, 0], truths, strict=True)):
        found = rows[rows[:, 4] >= 0]
        assert len(found) <= 4
        for x0, y0, x1, y1, kind in found.round().int().tolist():
            assert 0 <= x0 < x1 <= WIDTH
            assert 0 <= y0 < y1 <= HEIGHT
            inside = image[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]  # edges are blended by the resizing
            torch.testing.assert_close(inside, torch.full_like(inside, 10.0 + kind))
            image[y0:y1, x0:x1] = 0
        left = image.round()[(image - image.round()).abs() < 1e-4]
        for kind in range(6):  # what lies outside of every box was too little to be kept
            assert int((left == 10 + kind).sum()) <= LEAST_SHARE * 10 * 8, (place, kind)


def test_an_image_is_cut_at_the_canvas_and_so_is_its_box() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8, 3], [0, 0, 2, 2, 4]])

    def placed(corner: int) -> tuple[torch.Tensor, list[list[float]]]:
        canvas = torch.zeros(3, 8, 8)
        kept = _place(canvas, torch.ones(3, 4, 4), boxes, corner, (3, 5))
        return canvas[0], kept.tolist()

    canvas, kept = placed(0)  # rows -1 to 3, columns 1 to 5
    assert kept == [[1, 0, 5, 3, 3]]  # the small box lay above the canvas
    assert canvas.sum() == 12
    assert bool((canvas[:3, 1:5] == 1).all())
    assert placed(1)[1] == [[5, 0, 8, 3, 3]]
    assert placed(2)[1] == [[1, 3, 5, 7, 3], [1, 3, 2, 4, 4]]
    assert placed(3)[1] == [[5, 3, 8, 7, 3], [5, 3, 6, 4, 4]]


def test_the_probability_decides_how_many_images_change() -> None:
    images, truths = batch()
    torch.manual_seed(0)
    same, rows = Mosaic(0.0)(images, truths)
    assert torch.equal(same, images)
    assert torch.equal(rows, truths[:, :1])
    torch.manual_seed(1)
    changed = [
        int((Mosaic(0.5)(images, truths)[0] != images).flatten(1).any(1).sum()) for _ in range(50)
    ]
    assert 2 < sum(changed) / len(changed) < 4
    assert {torch.equal(images, batch()[0]), torch.equal(truths, batch()[1])} == {True}


def test_the_same_seed_gives_the_same_mosaics() -> None:
    torch.manual_seed(3)
    first = Mosaic(0.7)(*batch())
    torch.manual_seed(3)
    second = Mosaic(0.7)(*batch())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_batch_without_objects_stays_without() -> None:
    images, truths = batch(4)
    _, rows = Mosaic(1.0)(images, torch.full_like(truths, -1.0))
    assert rows.shape == (4, 0, 5)


def test_off_by_default_and_for_boxes_only() -> None:
    assert TuneSettings().mosaic == 0
    assert open_mixing(DET) is None
    assert isinstance(open_mixing(DET, mosaic=0.5, images=4), Mosaic)
    with pytest.raises(UsageError, match="for --task det; the task is cls"):
        open_mixing(Classification(("a", "b")), mosaic=0.5, images=8)
    with pytest.raises(UsageError, match="has 3 on each device"):
        open_mixing(DET, mosaic=0.5, images=3)
    with pytest.raises(UsageError, match=r"mosaic 1.5: wanted a probability"):
        TuneSettings(mosaic=1.5)
