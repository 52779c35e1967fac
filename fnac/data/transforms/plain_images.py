"""Images prepared for a network by Pillow and numpy alone, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import read_image
from ..preprocessing import preprocessing


def plain_images(
    files: Sequence[Path], size: tuple[int, int], manifest: Mapping[str, Any]
) -> np.ndarray:
    """Return images as (N, 3, H, W) float32, resized to ``size`` (H, W) and normalised.

    Resized as Pillow does (bilinear, antialias), which differs from torchvision's resize by one
    step of 255 in some pixels; mean, std and colour order are the manifest's.
    """
    mean, std, color = preprocessing(manifest)
    scale = np.array([1 / (255 * s) for s in std], np.float32).astype(np.float64)
    shift = np.array([-m / s for m, s in zip(mean, std, strict=True)], np.float32)
    images = np.empty((len(files), 3, *size), np.float32)
    for place, file in enumerate(files):
        pixels = read_image(file)
        if pixels.shape[:2] != tuple(size):
            rows, columns = size
            picture = Image.fromarray(pixels)
            pixels = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
        ordered = pixels[..., ::-1] if color == "BGR" else pixels
        images[place] = (ordered * scale + shift).transpose(2, 0, 1)
    return images
