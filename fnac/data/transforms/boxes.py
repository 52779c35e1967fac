"""Joint transforms of images and boxes; rows are x0, y0, x1, y1, class id, in pixels.

As in ``transforms.py`` all randomness of a sample comes from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nn_functional
from torchvision import tv_tensors
from torchvision.ops import box_iou
from torchvision.transforms.v2 import functional

from fnac.passes.graph.contract import IMAGENET_MEAN, IMAGENET_STD, Triple

from ..source import Batch, Sample
from .pictures import change_colour, normalise, place_window

NO_BOX = -1.0
"""Value of the rows that fill up a batch."""
MULTIPLE = 32
"""Images of several sizes are padded to multiples of so many pixels."""
LEAST_SHARE = 0.25
"""A box of which less is left in a crop is left out."""
Mode = Literal["letterbox", "stretch", "sides"]
_CROP_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
_CROP_TRIALS = 50


@dataclass(frozen=True)
class Fit:
    """How a whole image is resized to the network's ``size`` (H, W).

    letterbox  keeps its shape, as large as fits; the rest, below or right of it, is padded
    stretch    takes the size, whatever its shape
    sides      keeps its shape: short side at most the lesser number, long side at most the greater
    """

    size: tuple[int, int]
    mode: Mode = "letterbox"

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of an image of height x width after scaling, without padding."""
        if self.mode == "stretch":
            return self.size
        if self.mode == "letterbox":
            factor = min(self.size[0] / height, self.size[1] / width)
        else:
            factor = min(min(self.size) / min(height, width), max(self.size) / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))

    def to_picture(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Map boxes (n, 4) of the network's input back to an image (height, width), clipped."""
        rows, cols = self.scaled(height, width)
        scale = boxes.new_tensor([width / cols, height / rows] * 2)
        edge = boxes.new_tensor([width, height] * 2)
        return (boxes * scale).clamp(min=0).minimum(edge)


@dataclass(frozen=True)
class BoxEvalTransform:
    """Fit the whole image; normalise; pad with ``pad``, by default the mean (then 0)."""

    fit: Fit
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: str = "RGB"
    pad: Triple | None = None

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None, /
    ) -> Sample:
        """Return image float32 (3, h, w) and boxes float32 (n, 5); ``random`` is not used."""
        image, boxes = resize_boxed(image, truth, self.fit.scaled(*image.shape[1:]))
        pixels = normalise(image, self.mean, self.std, self.color)
        if self.fit.mode == "letterbox":
            pixels = pad_to(pixels, self.fit.size, fill=self._fill())
        elif self.fit.mode == "sides" and self.pad is not None:  # else the batch is padded, with 0
            height, width = (-(-side // MULTIPLE) * MULTIPLE for side in pixels.shape[1:])
            pixels = pad_to(pixels, (height, width), fill=self._fill())
        return pixels, boxes

    def _fill(self) -> Tensor | None:
        if self.pad is None:
            return None
        values = [
            (colour / 255 - mean) / std
            for colour, mean, std in zip(self.pad, self.mean, self.std, strict=True)
        ]
        return torch.tensor(values)[:, None, None]


@dataclass(frozen=True)
class BoxTrainTransform:
    """Random crop, scale, flip and colour; then as in evaluation.

    fit: of a whole image at scale 1.
    crop: (H, W) that comes out; None: the fit's size (with ``sides``: whatever the image gives).
    scale: range of the random scale, drawn uniformly. Above 1 a window is cut out, below 1 the
        image lies somewhere in it; (1, 1): top left, as in evaluation.
    flip: mirror left-right with probability one half.
    colour: strength of the change of colour, as in ``TrainTransform``.
    iou_crop: cut a window out of the image first, of 0.3 to 1 of its sides, so that an object
        in it overlaps it by 0.1, 0.3, 0.5, 0.7 or 0.9 (drawn; or no window at all): SSD's crop.
    """

    fit: Fit
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: str = "RGB"
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    colour: float = 0.0
    iou_crop: bool = False

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None, /
    ) -> Sample:
        """Return image float32 (3, h, w) and boxes float32 (n, 5); all new tensors."""
        if random is None:
            raise TypeError("BoxTrainTransform needs the sample's random generator")
        draws = random.random(8)  # always as many, so that settings do not shift one another
        boxes = truth
        if self.iou_crop:
            top, left, rows, cols = _iou_window(image.shape[1:], boxes[:, :4], random)
            image = image[:, top : top + rows, left : left + cols]
            boxes = _cut(boxes, (left, top), (1.0, 1.0), (0, 0, cols, rows))
        if self.flip and draws[3] < 0.5:
            image = functional.horizontal_flip(image)
            boxes = _mirrored(boxes, image.shape[2])
        return self._scale(image, boxes, draws)

    def _scale(self, image: Tensor, boxes: Tensor, draws: np.ndarray) -> Sample:
        factor = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[0]
        full = [side * factor for side in self.fit.scaled(*image.shape[1:])]
        if self.crop is not None:
            size = self.crop
        elif self.fit.mode == "sides":
            size = (max(1, round(full[0])), max(1, round(full[1])))
        else:
            size = self.fit.size
        shifts = draws[1:3] if self.scale != (1.0, 1.0) or self.crop else (0.0, 0.0)
        top, rows, crop_top, crop_rows = place_window(size[0], full[0], image.shape[1], shifts[0])
        left, cols, crop_left, crop_cols = place_window(size[1], full[1], image.shape[2], shifts[1])
        image = image[:, crop_top : crop_top + crop_rows, crop_left : crop_left + crop_cols]
        image = resize_image(image, (rows, cols))
        if self.colour > 0:
            image = change_colour(image, self.colour, draws[4:])
        factors = (cols / crop_cols, rows / crop_rows)
        boxes = _cut(boxes, (crop_left, crop_top), factors, (left, top, left + cols, top + rows))
        pixels = normalise(image, self.mean, self.std, self.color)
        return pad_to(pixels, size, (top, left)), boxes


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize image uint8 (3, h, w) to (H, W), bilinear with antialias."""
    if tuple(image.shape[1:]) == size:
        return image
    resized = functional.resize(tv_tensors.Image(image), list(size), antialias=True)
    plain: Tensor = resized.as_subclass(Tensor)
    return plain


def resize_boxed(image: Tensor, boxes: Tensor, size: tuple[int, int]) -> Sample:
    """Resize an image to (H, W), and its boxes with it."""
    height, width = image.shape[1:]
    scale = boxes.new_tensor([size[1] / width, size[0] / height] * 2 + [1.0])
    return resize_image(image, size), boxes * scale


def pad_to(
    pixels: Tensor,
    size: tuple[int, int],
    place: tuple[int, int] = (0, 0),
    fill: Tensor | None = None,
) -> Tensor:
    """Place (3, h, w) at ``place`` (top, left) in (H, W) of zeros, or of ``fill`` (3, 1, 1).

    As it is where it fits.
    """
    top, left = place
    bottom, right = size[0] - top - pixels.shape[1], size[1] - left - pixels.shape[2]
    if (top, left, bottom, right) == (0, 0, 0, 0):
        return pixels
    if fill is None:
        return nn_functional.pad(pixels, (left, right, top, bottom))
    whole = fill.expand(3, *size).clone()
    whole[:, top : top + pixels.shape[1], left : left + pixels.shape[2]] = pixels
    return whole


def collate_boxes(samples: Sequence[Sample], multiple: int = 1) -> Batch:
    """Stack images, padded at the right and bottom to the largest, and to a multiple of pixels.

    Returns images (N, 3, H, W) and boxes float32 (N, M, 5), filled up with rows of -1.
    """
    sides = [max(s[0].shape[axis] for s in samples) for axis in (1, 2)]
    height, width = (-(-side // multiple) * multiple for side in sides)
    images = torch.stack([pad_to(s[0], (height, width)) for s in samples])
    truths = images.new_full((len(samples), max(len(s[1]) for s in samples), 5), NO_BOX)
    for row, (_, boxes) in zip(truths, samples, strict=True):
        row[: len(boxes)] = boxes
    return images, truths


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    return torch.stack(
        [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3], boxes[:, 4]], dim=1
    )


def _cut(
    boxes: Tensor,
    origin: tuple[float, float],
    factors: tuple[float, float],
    visible: tuple[float, float, float, float],
) -> Tensor:
    """Move and scale boxes ((x - origin) * factor + visible's corner) and clip them to visible.

    Leaves out those of which too little is left.
    """
    x0, y0, _, _ = visible
    shift, scale = boxes.new_tensor(origin * 2), boxes.new_tensor(factors * 2)
    moved = (boxes[:, :4] - shift) * scale + boxes.new_tensor([x0, y0, x0, y0])
    return kept_boxes(moved, boxes[:, 4:], visible)


def kept_boxes(
    moved: Tensor, classes: Tensor, visible: tuple[float, float, float, float]
) -> Tensor:
    """Clip boxes (n, 4) to ``visible`` (x0, y0, x1, y1); return those kept, (k, 5).

    A box of which less than ``LEAST_SHARE`` is left is dropped. classes: (n, 1).
    """
    x0, y0, x1, y1 = visible
    low, high = moved.new_tensor([x0, y0] * 2), moved.new_tensor([x1, y1] * 2)
    clipped = moved.maximum(low).minimum(high)
    left = (clipped[:, 2:] - clipped[:, :2]).clamp(min=0).prod(dim=1)
    kept = left >= LEAST_SHARE * (moved[:, 2:] - moved[:, :2]).prod(dim=1)
    return torch.cat([clipped, classes], dim=1)[kept]


def _iou_window(
    size: Sequence[int], boxes: Tensor, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw (top, left, rows, columns) of SSD's crop; the whole image where no draw fits."""
    height, width = size
    choice, draws = random.random(), random.random((_CROP_TRIALS, 4))
    least = _CROP_OVERLAPS[int(choice * len(_CROP_OVERLAPS))]
    if least is None or len(boxes) == 0:
        return 0, 0, height, width
    rows = np.maximum(1, np.floor(height * (0.3 + 0.7 * draws[:, 0])))
    cols = np.maximum(1, np.floor(width * (0.3 + 0.7 * draws[:, 1])))
    top = np.floor((height - rows) * draws[:, 2])
    left = np.floor((width - cols) * draws[:, 3])
    windows = torch.from_numpy(np.stack([left, top, left + cols, top + rows], axis=1)).float()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])).all(dim=2)
    overlap = (box_iou(windows, boxes) * inside).amax(dim=1)
    ratio = torch.from_numpy(rows / cols)
    good = (overlap >= least) & (ratio > 0.5) & (ratio < 2)
    if not bool(good.any()):
        return 0, 0, height, width
    first = int(good.nonzero()[0, 0])
    return int(top[first]), int(left[first]), int(rows[first]), int(cols[first])
