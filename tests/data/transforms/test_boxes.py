from __future__ import annotations

import numpy as np
import pytest
import torch

from fnac.data.transforms.boxes import (
    BoxEvalTransform,
    BoxTrainTransform,
    Fit,
    _iou_window,
    collate_boxes,
)

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def squares(height: int, width: int, *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """A black image with a white rectangle for each box x0 y0 x1 y1."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for x0, y0, x1, y1 in boxes:
        image[:, y0:y1, x0:x1] = 255
    return image


def rows(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    return torch.tensor([[*b, i] for i, b in enumerate(boxes)], dtype=torch.float32).reshape(-1, 5)


def extent(image: torch.Tensor) -> list[float]:
    """The box x0 y0 x1 y1 around what is brighter than half."""
    there = image[0] > 0.5
    y, x = there.any(1).nonzero().ravel(), there.any(0).nonzero().ravel()
    return [float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1)]


@pytest.mark.parametrize(
    ("mode", "size", "picture", "scaled"),
    [
        ("letterbox", (64, 64), (40, 80), (32, 64)),
        ("letterbox", (64, 96), (80, 40), (64, 32)),
        ("stretch", (64, 96), (80, 40), (64, 96)),
        ("sides", (800, 1088), (480, 640), (800, 1067)),
        ("sides", (800, 1088), (640, 480), (1067, 800)),
        ("sides", (800, 1088), (300, 600), (544, 1088)),
    ],
)
def test_how_pictures_fit(
    mode: str, size: tuple[int, int], picture: tuple[int, int], scaled: tuple[int, int]
) -> None:
    fit = Fit(size, mode)  # type: ignore[arg-type]
    assert fit.scaled(*picture) == scaled
    if mode != "sides":
        assert fit.scaled(*scaled) == scaled, "an image that was shrunk before is left as it is"


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "sides"])
def test_boxes_follow_the_picture_and_come_back(mode: str) -> None:
    box = (20, 10, 60, 30)
    fit = Fit((64, 64), mode)  # type: ignore[arg-type]
    image, boxes = BoxEvalTransform(fit, **PLAIN)(squares(40, 80, box), rows(box))
    assert tuple(image.shape) == (3, 32 if mode == "sides" else 64, 64)
    np.testing.assert_allclose(boxes[0, :4], extent(image), rtol=0, atol=1)
    back = fit.to_picture(boxes[:, :4], 40, 80)
    # two roundings of float32
    np.testing.assert_allclose(back, [list(box)], rtol=0, atol=1e-4)
    outside = fit.to_picture(torch.tensor([[-5.0, 0, 900, 900]]), 40, 80)
    assert outside.tolist() == [[0, 0, 80, 40]]
    if mode == "letterbox":
        assert not image[:, 32:].any(), "what is padded is the mean colour"


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "sides"])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.4, 0.9), (1.2, 2.0), (0.5, 2.0)])
@pytest.mark.parametrize("iou_crop", [False, True])
def test_boxes_follow_every_random_change(
    mode: str, scale: tuple[float, float], iou_crop: bool
) -> None:
    box = (30, 16, 80, 60)
    picture, truth = squares(80, 120, box), rows(box)
    transform = BoxTrainTransform(
        Fit((96, 96), mode), scale=scale, iou_crop=iou_crop, **PLAIN  # type: ignore[arg-type]
    )  # fmt: skip
    seen = 0
    for seed in range(12):
        image, boxes = transform(picture, truth, np.random.default_rng(seed))
        if mode != "sides":
            assert tuple(image.shape) == (3, 96, 96)
        if len(boxes):
            seen += 1
            # the half of an antialiased edge, enlarged 2.7 times at most
            np.testing.assert_allclose(boxes[0, :4], extent(image), rtol=0, atol=3)
        again = transform(picture, truth, np.random.default_rng(seed))
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], boxes)
    assert seen >= 6
    assert torch.equal(truth, rows(box)), "nothing is changed in place"


def test_half_of_the_samples_are_mirrored() -> None:
    transform = BoxTrainTransform(Fit((40, 80)), **PLAIN)
    box = (0, 0, 10, 10)
    found = [
        transform(squares(40, 80, box), rows(box), np.random.default_rng(s))[1][0].tolist()
        for s in range(40)
    ]
    assert {tuple(f) for f in found} == {(0, 0, 10, 10, 0), (70, 0, 80, 10, 0)}
    assert 10 < sum(f[0] == 70 for f in found) < 30


def test_boxes_cut_away_are_left_out() -> None:
    transform = BoxTrainTransform(
        Fit((40, 40)), crop=(20, 20), flip=False, scale=(1.0, 1.0), **PLAIN
    )
    truth = rows((0, 0, 40, 40), (0, 0, 4, 4), (16, 16, 24, 24))
    for seed in range(8):
        image, boxes = transform(squares(40, 40), truth, np.random.default_rng(seed))
        assert tuple(image.shape) == (3, 20, 20)
        assert [0, 0, 20, 20, 0] in boxes.tolist(), "a quarter of the large one is left"
        assert (boxes[:, :4] >= 0).all()
        assert (boxes[:, :4] <= 20).all()
    empty = transform(squares(40, 40), rows(), np.random.default_rng(0))[1]
    assert empty.shape == (0, 5)


def test_the_window_overlaps_an_object() -> None:
    boxes = torch.tensor([[10.0, 10, 50, 50], [60, 60, 70, 70]])
    found = [_iou_window((100, 100), boxes, np.random.default_rng(s)) for s in range(60)]
    windows = {w for w in found if w != (0, 0, 100, 100)}
    assert len(windows) > 20
    for top, left, height, width in windows:
        assert 0 <= top <= 100 - height
        assert 0 <= left <= 100 - width
        assert 0.5 < height / width < 2


def test_batches_are_filled_up() -> None:
    one = torch.ones(3, 30, 40), rows((1, 2, 3, 4), (5, 6, 7, 8))
    two = torch.ones(3, 34, 20), rows()
    images, boxes = collate_boxes([one, two], 32)
    assert tuple(images.shape) == (2, 3, 64, 64)
    assert images.sum(dim=(1, 2, 3)).tolist() == [3 * 30 * 40, 3 * 34 * 20]
    assert boxes.shape == (2, 2, 5)
    assert (boxes[0].tolist(), boxes[1].unique().tolist()) == (one[1].tolist(), [-1])
    assert collate_boxes([two, two])[1].shape == (2, 0, 5)
