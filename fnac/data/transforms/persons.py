"""Map a whole image to a network input centred on one person, and back.

Coordinates of joints are those of pixel centres (the middle of the first pixel is 0, 0). The
matrices here take points of the plane, where that pixel reaches from 0 to 1: half a pixel is added
before and taken off after, so that mirrored and shrunk images keep their joints exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fnac.passes.graph.contract import IMAGENET_MEAN, IMAGENET_STD, Triple

from .pictures import change_colour, normalise

Matrix = npt.NDArray[np.float64]

ROTATED = 0.6
"""Probability that a training sample is rotated (SimpleBaseline)."""


def window_matrix(
    centre: tuple[float, float],
    window: tuple[float, float],
    size: tuple[int, int],
    *,
    zoom: float = 1.0,
    degrees: float = 0.0,
    mirror: bool = False,
) -> Matrix:
    """Return float64 (2, 3): the map from image to input coordinates for ``size`` (H, W).

    The window (width, height in pixels) about ``centre`` (x, y of a pixel centre) fills the input,
    widened on one axis where the shapes differ; ``zoom`` enlarges the person, ``degrees`` turns it
    clockwise, ``mirror`` swaps left and right, in this order.
    """
    height, width = size
    factor = zoom * min(width / window[0], height / window[1])
    cos, sin = factor * math.cos(math.radians(degrees)), factor * math.sin(math.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([width / 2, height / 2])
    if mirror:
        turn[0] *= -1
    shift = middle - turn @ (np.asarray(centre, dtype=np.float64) + 0.5)
    return np.concatenate([turn, shift[:, None]], axis=1)


def inverse(matrix: Matrix) -> Matrix:
    """Return float64 (2, 3), the map that undoes ``matrix``."""
    turn = np.linalg.inv(matrix[:, :2])
    return np.concatenate([turn, -turn @ matrix[:, 2:]], axis=1)


def move_points(points: npt.NDArray[np.floating], matrix: Matrix) -> Matrix:
    """Map pixel coordinates (..., 2); the result is float64 and new."""
    moved: Matrix = (points.astype(np.float64) + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5
    return moved


def split_truth(image: Tensor, truth: Tensor, joints: int) -> tuple[Tensor, Tensor]:
    """Return (K, 3) joints and the (2, 3) rows of the window; without rows, the whole image."""
    if len(truth) == joints + 2:
        return truth[:joints], truth[joints:]
    height, width = image.shape[1:]
    whole = torch.tensor([[(width - 1) / 2, (height - 1) / 2, 0.0], [width, height, 0.0]])
    return truth, whole


@dataclass(frozen=True)
class PersonTransform:
    """Crop a person from an image; with ``scale`` randomly, for training.

    size: of the network's input, (H, W) pixels. mirrored: for each of the K joints the one that
    stands in its place in a mirror. ``mean``, ``std``, ``color`` as in ``EvalTransform``; pixels
    outside the image get the mean colour.

    scale: range of the window, in sizes of the person's: a normal deviate about its middle, half
        the range one standard deviation, cut off at its ends (SimpleBaseline); a window of 1.25
        shows the person smaller. None: evaluation, nothing is random.
    rotation: standard deviation in degrees, cut off at twice that, in 60 % of the samples.
    flip: mirror half of the samples. colour: as in ``TrainTransform``.
    """

    size: tuple[int, int]
    mirrored: tuple[int, ...]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: str = "RGB"
    scale: tuple[float, float] | None = None
    rotation: float = 0.0
    flip: bool = False
    colour: float = 0.0
    pad: Triple | None = None

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image float32 (3, H, W) and joints float32 (K, 3) in its pixels; all new.

        truth: (K + 2, 3) with the window's rows, or (K, 3): then the whole image is the window.
        """
        joints, rows = split_truth(image, truth, len(self.mirrored))
        centre, window = rows[0, :2].tolist(), rows[1, :2].tolist()
        zoom, degrees, mirror, draws = 1.0, 0.0, False, np.zeros(4)
        if self.scale is not None:
            if random is None:
                raise TypeError("training needs the sample's random generator")
            zoom, degrees, mirror, draws = self._draw(random)
        matrix = window_matrix(
            (centre[0], centre[1]),
            (window[0], window[1]),
            self.size,
            zoom=zoom,
            degrees=degrees,
            mirror=mirror,
        )
        pixels = warp(image, matrix, self.size, self._around())
        if self.scale is not None and self.colour > 0:
            pixels = change_colour(pixels, self.colour, draws)
        moved = torch.from_numpy(move_points(joints[:, :2].numpy(), matrix)).float()
        result = torch.cat([moved, joints[:, 2:]], dim=1)
        result[result[:, 2] == 0] = 0
        if mirror:
            result = result[list(self.mirrored)]
        return normalise(pixels, self.mean, self.std, self.color), result

    def _around(self) -> Triple:
        """Return the colour (RGB, 0 to 1) outside the image."""
        r, g, b = self.mean if self.pad is None else (value / 255 for value in self.pad)
        return (r, g, b) if self.color == "RGB" else (b, g, r)

    def _draw(self, random: np.random.Generator) -> tuple[float, float, bool, np.ndarray]:
        """Draw zoom, degrees, mirror and colour: always the same count of random numbers."""
        assert self.scale is not None
        normal, uniform = random.standard_normal(2), random.random(6)
        low, high = self.scale
        zoom = 1 / ((low + high) / 2 + (high - low) / 2 * float(np.clip(normal[0], -1, 1)))
        degrees = self.rotation * float(np.clip(normal[1], -2, 2))
        if uniform[0] >= ROTATED:
            degrees = 0.0
        return zoom, degrees, self.flip and bool(uniform[1] < 0.5), uniform[2:]


def warp(image: Tensor, matrix: Matrix, size: tuple[int, int], mean: Triple) -> Tensor:
    """Resample image uint8 (3, h, w) through ``matrix`` into uint8 (3, H, W), bilinear.

    Only what is seen is read. Where the image shrinks to less than half, whole blocks of pixels
    are averaged first, so that nothing is skipped. Outside the image: the mean colour.
    """
    height, width = size
    back = inverse(matrix)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    seen = corners @ back[:, :2].T + back[:, 2]
    block = max(1, int(math.sqrt(abs(np.linalg.det(back[:, :2])))))
    # Some pixels more than are seen: bilinear reads a neighbour, and blocks begin at the edge.
    low = np.floor(seen.min(axis=0)).astype(int) - 2 * block
    high = np.ceil(seen.max(axis=0)).astype(int) + 2 * block
    limit = np.array([image.shape[2], image.shape[1]])
    low, high = np.clip(low, 0, limit - 1), np.clip(high, 1, limit)
    high = np.maximum(high, low + 1)
    part = image[:, low[1] : high[1], low[0] : high[0]].permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(part)
    if block > 1:
        picture = picture.reduce(block)
    back = np.concatenate([back[:, :2], back[:, 2:] - low[:, None]], axis=1) / block
    fill = tuple(round(255 * value) for value in mean)
    warped = picture.transform(
        (width, height),
        Image.Transform.AFFINE,
        tuple(back.ravel()),
        resample=Image.Resampling.BILINEAR,
        fillcolor=fill,
    )
    return torch.from_numpy(np.array(warped)).permute(2, 0, 1)


def crop_to_window(
    image: Tensor, truth: Tensor, joints: int, size: tuple[int, int], zoom: float
) -> tuple[Tensor, Tensor]:
    """Keep the part of an image that transforms to ``size`` (H, W) can show of its person.

    zoom: the least that will be asked for; any rotation is. Returns image and truth (K + 2, 3) of
    the part, to be held in memory; both new.
    """
    labels, rows = split_truth(image, truth, joints)
    radius = seen_radius((float(rows[1, 0]), float(rows[1, 1])), size, zoom)
    x, y = rows[0, :2].tolist()
    left, top = max(0, math.floor(x - radius)), max(0, math.floor(y - radius))
    right = min(image.shape[2], max(left + 1, math.ceil(x + radius)))
    bottom = min(image.shape[1], max(top + 1, math.ceil(y + radius)))
    shift = torch.tensor([left, top, 0])
    moved = torch.cat([torch.where(labels[:, 2:] > 0, labels - shift, labels), rows])
    moved[joints] -= shift
    return image[:, top:bottom, left:right].clone(), moved


def seen_radius(window: tuple[float, float], size: tuple[int, int], zoom: float) -> float:
    """Return how far from a window's centre ``warp`` reads, in pixels of the image."""
    height, width = size
    pixels = 1 / (zoom * min(width / window[0], height / window[1]))  # a pixel of the input, here
    return math.hypot(height, width) / 2 * pixels + 3 * max(1, int(pixels)) + 2
