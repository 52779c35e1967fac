"""Joint transforms: geometry kept together, randomness from the generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from fnac.data.transforms.pictures import EvalTransform, TrainTransform, normalise, resize_pair

UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def blocks(height: int = 60, width: int = 80) -> tuple[Tensor, Tensor]:
    """An image whose brightness says the class: blocks of 20 pixels, value = 10 * class."""
    rows, columns = torch.arange(height) // 20, torch.arange(width) // 20
    mask = (rows[:, None] * 4 + columns[None]).to(torch.uint8)
    return (mask * 10).expand(3, height, width).contiguous(), mask


def test_normalise_is_the_textbook_formula() -> None:
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wanted = functional.normalize(image / 255, list(mean), list(std))
    assert torch.allclose(normalise(image, mean, std), wanted, atol=1e-6, rtol=0)
    bgr = functional.normalize(image.flip(0) / 255, list(mean), list(std))
    assert torch.allclose(normalise(image, mean, std, "BGR"), bgr, atol=1e-6, rtol=0)


def test_eval_resizes_the_image_alone_and_training_the_mask_to_the_nearest() -> None:
    image = torch.randint(0, 256, (3, 36, 48), dtype=torch.uint8)
    mask = torch.randint(0, 11, (36, 48), dtype=torch.uint8)
    pixels, target = EvalTransform((18, 24), **UNIT)(image, mask)
    wanted = functional.resize(image, [18, 24], antialias=True) / 255
    assert torch.allclose(pixels, wanted, atol=1e-6, rtol=0)
    assert torch.equal(target, mask.long())  # labels are measured as they are
    assert torch.equal(resize_pair(image, mask, (18, 24))[1], mask[::2, ::2])
    assert (pixels.dtype, target.dtype) == (torch.float32, torch.int64)
    assert type(pixels) is Tensor
    assert type(target) is Tensor


def test_flip_only_is_the_evaluation_picture_or_its_mirror() -> None:
    image, mask = blocks()
    pixels, _ = EvalTransform((30, 40))(image, mask)
    plain = (pixels, resize_pair(image, mask, (30, 40))[1].long())
    mirrored = tuple(t.flip(-1) for t in plain)
    transform = TrainTransform((30, 40), scale=(1, 1))
    seen = set()
    for seed in range(12):
        got = transform(image, mask, generator(seed))
        which = [all(map(torch.equal, got, wanted)) for wanted in (plain, mirrored)]
        assert sum(which) == 1
        seen.add(which[0])
    assert seen == {True, False}


@pytest.mark.parametrize("size", [(48, 64), (33, 91), (60, 80)])
@pytest.mark.parametrize("base", [None, (60, 80)])
def test_image_and_mask_stay_together(size: tuple[int, int], base: tuple[int, int] | None) -> None:
    image, mask = blocks()
    transform = TrainTransform(size, base=base, scale=(0.5, 2.0), **UNIT)
    padded = 0
    for seed in range(25):
        pixels, target = transform(image, mask, generator(seed))
        assert pixels.shape == (3, *size)
        assert target.shape == size
        ignored = target == 255
        padded += bool(ignored.any())
        assert (pixels[:, ignored] == 0).all()
        assert (~ignored).sum() > 0.2 * ignored.numel()
        agree = (pixels[0] * 25.5).round() == target
        # Bilinear blends at the blocks' edges only.
        assert agree[~ignored].float().mean() > 0.75
    assert 0 < padded < 25


def test_scale_two_crops_half_the_picture() -> None:
    image, mask = blocks()
    _, target = TrainTransform((60, 80), scale=(2, 2), flip=False)(image, mask, generator(1))
    assert 255 not in target
    for axis in (0, 1):  # edges of the 20-pixel blocks are now 40 pixels apart
        changes = (target.diff(dim=axis) != 0).any(1 - axis).nonzero().flatten()
        assert changes.diff().tolist() in ([], [40])
        assert len(changes) >= 1


def test_only_the_generator_matters() -> None:
    image, mask = blocks()
    transform = TrainTransform((48, 48), colour=0.4)
    torch.manual_seed(1)
    first = transform(image, mask, generator(7))
    torch.manual_seed(2)
    torch.rand(5)
    again = transform(image, mask, generator(7))
    other = transform(image, mask, generator(8))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_colour_leaves_the_mask_and_the_geometry() -> None:
    image, mask = blocks()
    plain = TrainTransform((48, 48))(image, mask, generator(7))
    coloured = TrainTransform((48, 48), colour=0.4)(image, mask, generator(7))
    assert torch.equal(plain[1], coloured[1])
    assert not torch.equal(plain[0], coloured[0])


def test_train_needs_a_generator() -> None:
    with pytest.raises(TypeError, match="random generator"):
        TrainTransform((8, 8))(*blocks())
