"""Joint transforms of image and mask, with torchvision's v2 kernels.

All randomness of a sample comes from the generator it is given (``loader.py`` makes it from
random seed, epoch and index), never from global state: a resumed run sees the same pixels, on any
number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from fnac.passes.graph.contract import IMAGENET_MEAN, IMAGENET_STD, Triple

from ..source import IGNORE, Sample


class Transform(Protocol):
    """Turns a sample of a Dataset into the network's input."""

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None, /
    ) -> Sample:
        """Return image float32 (3, h, w), normalised, and the truth in the image's pixels."""
        ...


@dataclass(frozen=True)
class EvalTransform:
    """Resize the whole image to ``size`` (H, W), bilinear with antialias; the mask keeps its own.

    Networks that read images of different sizes are compared on the labels as they are. ``mean``
    and ``std`` apply to RGB pixels / 255, in the order of ``color`` (RGB or BGR).
    """

    size: tuple[int, int]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: str = "RGB"

    def __call__(
        self, image: Tensor, mask: Tensor, random: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image float32 (3, *size) and mask int64 (H, W); ``random`` is not used."""
        image = resize(image, self.size)
        return normalise(image, self.mean, self.std, self.color), mask.long()


@dataclass(frozen=True)
class TrainTransform:
    """Random scale, crop, flip and colour; then the same normalisation as in evaluation.

    size: what comes out, (H, W) pixels.
    base: (H, W) of the whole image at scale 1 (the evaluation size); None: ``size``.
    scale: range of the random scale, drawn uniformly; (1, 1) with ``base`` None is "flip only".
    flip: mirror left-right with probability one half.
    colour: strength of the change of brightness, contrast and saturation (factors in
        1 - colour .. 1 + colour) and of hue (a tenth of it); 0 = off.

    Where the scaled image is smaller than ``size``, the image is padded with the mean colour and
    the mask with 255.
    """

    size: tuple[int, int]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    scale: tuple[float, float] = (0.75, 2.0)
    flip: bool = True
    colour: float = 0.0
    base: tuple[int, int] | None = None
    color: str = "RGB"

    def __call__(
        self, image: Tensor, mask: Tensor, random: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image float32 (3, H, W) and mask int64 (H, W); all new tensors."""
        if random is None:
            raise TypeError("TrainTransform needs the sample's random generator")
        draws = random.random(10)  # always as many, so that settings do not shift one another
        height, width = self.size
        full_h, full_w = self.base or self.size
        factor = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[0]
        top, rows, crop_top, crop_rows = place_window(
            height, full_h * factor, image.shape[1], draws[1]
        )
        left, cols, crop_left, crop_cols = place_window(
            width, full_w * factor, image.shape[2], draws[2]
        )
        image = image[:, crop_top : crop_top + crop_rows, crop_left : crop_left + crop_cols]
        mask = mask[crop_top : crop_top + crop_rows, crop_left : crop_left + crop_cols]
        image, mask = resize_pair(image, mask, (rows, cols))
        if self.colour > 0:
            image = change_colour(image, self.colour, draws[4:])
        if self.flip and draws[3] < 0.5:
            image, mask = functional.horizontal_flip(image), functional.horizontal_flip(mask)
            left = width - cols - left
        pixels = normalise(image, self.mean, self.std, self.color)
        if (rows, cols) == (height, width):
            return pixels, mask.long()
        whole = torch.zeros(3, height, width)
        truth = torch.full((height, width), IGNORE, dtype=torch.int64)
        whole[:, top : top + rows, left : left + cols] = pixels
        truth[top : top + rows, left : left + cols] = mask
        return whole, truth


def resize_pair(image: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize image uint8 (3, h, w) bilinear (antialias) and mask uint8 (h, w) nearest to (H, W)."""
    rows, cols = size
    if tuple(mask.shape) != (rows, cols):
        mask = functional.resize(tv_tensors.Mask(mask[None]), [rows, cols])[0]
    return resize(image, size), mask.as_subclass(Tensor)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 (3, h, w) bilinearly (antialias) to (3, *size); unchanged if it fits."""
    if tuple(image.shape[1:]) != tuple(size):
        image = functional.resize(tv_tensors.Image(image), list(size), antialias=True)
    return image.as_subclass(Tensor)


def normalise(image: Tensor, mean: Triple, std: Triple, color: str = "RGB") -> Tensor:
    """Turn RGB uint8 (3, h, w) into float32 ``(pixel / 255 - mean) / std`` in ``color`` order."""
    if color == "BGR":
        image = image.flip(0)
    scale = torch.tensor([1 / (255 * s) for s in std])[:, None, None]
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])[:, None, None]
    return torch.addcmul(shift, image, scale)


def place_window(size: int, full: float, source: int, draw: float) -> tuple[int, int, int, int]:
    """Place the crop along one axis.

    Returns where the visible part starts and how long it is in the output, then the same in the
    source image; ``full`` is the length of the scaled image.
    """
    length = max(1, round(full))
    if length <= size:
        return int(draw * (size - length + 1)), length, 0, source
    start = int(draw * (length - size + 1))
    first = round(start * source / length)
    last = round((start + size) * source / length)
    first = min(first, source - 1)
    return 0, size, first, max(1, last - first)


def change_colour(image: Tensor, colour: float, draws: np.ndarray) -> Tensor:
    """Change brightness, contrast, saturation and hue of uint8 (3, h, w); draws: 4 from 0..1."""
    brightness, contrast, saturation = (1 + colour * (2 * float(d) - 1) for d in draws[:3])
    image = functional.adjust_brightness(image, max(0.0, brightness))
    image = functional.adjust_contrast(image, max(0.0, contrast))
    image = functional.adjust_saturation(image, max(0.0, saturation))
    hue = min(0.5, 0.1 * colour) * (2 * float(draws[3]) - 1)
    turned: Tensor = functional.adjust_hue(image, hue)
    return turned
