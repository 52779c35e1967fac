"""Cutting a person out: image and joints move together, and come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fnac.data.sets.persons import window_rows
from fnac.data.transforms.persons import (
    PersonTransform,
    crop_to_window,
    inverse,
    move_points,
    window_matrix,
)

UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
MIRRORED = (1, 0, 2)  # left, right, middle
SPOTS = ((60, 50), (90, 50), (74, 86))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def person(height: int = 120, width: int = 160, window: float = 100) -> tuple[Tensor, Tensor]:
    """A black image with a bright disc about each joint, one colour channel a joint."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    for channel, (x, y) in enumerate(SPOTS):
        image[channel][(columns - x) ** 2 + (rows - y) ** 2 <= 16] = 200
    joints = torch.tensor([[x, y, 2.0] for x, y in SPOTS])
    return image, torch.cat([joints, window_rows((75, 60), (window, window))])


def middle(channel: Tensor) -> list[float]:
    rows = torch.arange(channel.shape[0]).float()
    columns = torch.arange(channel.shape[1]).float()
    total = channel.sum()
    return [float((channel.sum(0) * columns).sum() / total),
            float((channel.sum(1) * rows).sum() / total)]  # fmt: skip


def test_matrix_by_hand() -> None:
    # A window of 100x50 about pixel (10, 20) in a 64x64 input: 0.64 on both axes.
    matrix = window_matrix((10, 20), (100, 50), (64, 64))
    points = np.array([[10.0, 20.0], [59.5, 19.5]])
    assert np.allclose(move_points(points, matrix), [[31.5, 31.5], [63.18, 31.18]])
    # A quarter turn clockwise: what was right of the middle is below it.
    matrix = window_matrix((10, 20), (64, 64), (64, 64), degrees=90)
    assert np.allclose(move_points(np.array([[15.0, 20.0]]), matrix), [[31.5, 36.5]])
    matrix = window_matrix((10, 20), (64, 64), (64, 64), mirror=True, zoom=2)
    assert np.allclose(move_points(np.array([[15.0, 20.0]]), matrix), [[21.5, 31.5]])
    back = move_points(move_points(points, matrix), inverse(matrix))
    assert np.allclose(back, points, atol=1e-9)


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (96, 64), (128, 160)])
def test_evaluation_keeps_joints_on_their_spots(size: tuple[int, int]) -> None:
    image, target = person()
    pixels, joints = PersonTransform(size, MIRRORED, **UNIT)(image, target)
    assert (pixels.dtype, pixels.shape) == (torch.float32, (3, *size))
    assert (joints.dtype, joints.shape) == (torch.float32, (3, 3))
    for channel, joint in zip(pixels, joints, strict=True):
        assert middle(channel) == pytest.approx(joint[:2].tolist(), abs=0.15)


def test_random_samples_keep_joints_on_their_spots() -> None:
    image, target = person()
    transform = PersonTransform(
        (64, 64), MIRRORED, **UNIT, scale=(0.75, 1.25), rotation=30, flip=True
    )
    scales, mirrors, turns = [], 0, 0
    for seed in range(200):
        pixels, joints = transform(image, target, generator(seed))
        # joint 0 is "left": in a mirror it stands where the right one was, so in channel 1
        mirrored = abs(middle(pixels[0])[0] - joints[0, 0]) > 2
        mirrors += mirrored
        order = list(MIRRORED) if mirrored else [0, 1, 2]
        for channel, joint in zip(pixels[order], joints, strict=True):
            assert middle(channel) == pytest.approx(joint[:2].tolist(), abs=0.3)
        eyes = joints[1, :2] - joints[0, :2]
        scales.append(float(eyes.norm()) / (30 * 0.64))
        turns += abs(float(eyes[1])) > 1e-3
        assert eyes[0] > 0  # a person's left stays on its side, turned by 60 degrees at most
    assert 60 < mirrors < 140
    assert 90 < turns < 150
    # SimpleBaseline scales the window, so that the person is 1 / scale as large
    assert min(scales) == pytest.approx(1 / 1.25, abs=1e-4)
    assert max(scales) == pytest.approx(1 / 0.75, abs=1e-4)
    assert 0.95 < sum(1 / s for s in scales) / len(scales) < 1.05


def test_the_generator_decides_alone() -> None:
    image, target = person()
    settings = {"scale": (0.75, 1.25), "rotation": 30.0, "flip": True, "colour": 0.3}
    transform = PersonTransform((32, 32), MIRRORED, **settings)  # type: ignore[arg-type]
    first, again = transform(image, target, generator(5)), transform(image, target, generator(5))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], transform(image, target, generator(6))[0])
    plain = PersonTransform((32, 32), MIRRORED, scale=(0.75, 1.25), rotation=30, flip=True)
    assert torch.equal(plain(image, target, generator(5))[1], first[1])
    with pytest.raises(TypeError, match="needs the sample's random generator"):
        transform(image, target)


def test_a_mirror_is_a_mirror() -> None:
    image, target = person()
    transform = PersonTransform((64, 64), MIRRORED, scale=(1.0, 1.0), flip=True)
    plain = PersonTransform((64, 64), MIRRORED)(image, target)
    seen = set()
    for seed in range(8):
        pixels, joints = transform(image, target, generator(seed))
        if torch.equal(joints, plain[1]):
            assert torch.equal(pixels, plain[0])
            seen.add("plain")
        else:
            assert (pixels - plain[0].flip(-1)).abs().max() < 1e-5
            back = joints[list(MIRRORED)]
            assert torch.allclose(63 - back[:, 0], plain[1][:, 0], atol=1e-4)
            seen.add("mirrored")
    assert seen == {"plain", "mirrored"}


def test_outside_is_the_mean_colour_and_unlabelled_is_zero() -> None:
    image = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    target = torch.cat(
        [torch.tensor([[3.0, 3, 2], [900, 3, 0], [5, 5, 1]]), window_rows((0, 0), (40, 40))]
    )
    pixels, joints = PersonTransform((40, 40), MIRRORED)(image, target)
    assert pixels[:, :19].abs().max() < 0.02  # half a grey level of 255 over std
    assert (pixels[:, 22:, 22:] > 2).all()
    assert joints.tolist() == [[22.5, 22.5, 2], [0, 0, 0], [24.5, 24.5, 1]]


def test_a_target_without_window_shows_the_whole_picture() -> None:
    image, target = person(100, 100)
    pixels, joints = PersonTransform((100, 100), MIRRORED, **UNIT)(image, target[:3])
    assert torch.equal((pixels * 255).round().byte(), image)
    assert torch.allclose(joints, target[:3], atol=1e-5)


@pytest.mark.parametrize("window", [30.0, 100.0, 400.0])
@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
def test_cropped_samples_give_the_same(window: float, size: tuple[int, int]) -> None:
    noise = torch.randint(0, 256, (3, 240, 320), dtype=torch.uint8)
    target = torch.cat(
        [torch.tensor([[60.0, 90, 2], [0, 0, 0], [80, 80, 1]]),
         window_rows((70.3, 90.8), (window, window / 2))]
    )  # fmt: skip
    part, moved = crop_to_window(noise, target, 3, size, 0.75)
    assert part.numel() < noise.numel() or window == 400
    transform = PersonTransform(size, MIRRORED, scale=(0.75, 1.25), rotation=30, flip=True)
    for seed in range(20):
        one = transform(noise, target, generator(seed))
        other = transform(part, moved, generator(seed))
        assert torch.allclose(one[1], other[1], atol=1e-4)
        # rounding of the shifted matrix may turn one grey level
        assert (one[0] - other[0]).abs().max() < 0.02
