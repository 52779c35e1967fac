"""Images for classification: centre crop to the network's aspect ratio, then resize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .pictures import EvalTransform, TrainTransform


def cut_to_shape(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the largest centre crop of (3, h, w) with the aspect ratio of ``size`` (H, W), a view.

    A pixel is the least side.
    """
    height, width = image.shape[1:]
    rows = max(1, min(height, round(width * size[0] / size[1])))
    columns = max(1, min(width, round(height * size[1] / size[0])))
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[:, top : top + rows, left : left + columns]


@dataclass(frozen=True)
class ClassTransform:
    """Segmentation's transform of an image, after a centre crop; the class stays."""

    of_picture: EvalTransform | TrainTransform

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image float32 (3, H, W) and the class id int64 ()."""
        inner = self.of_picture
        whole = inner.base or inner.size if isinstance(inner, TrainTransform) else inner.size
        part = cut_to_shape(image, whole)
        nothing = torch.zeros(part.shape[1:], dtype=torch.uint8)
        pixels, _ = inner(part, nothing, random)
        return pixels, truth
