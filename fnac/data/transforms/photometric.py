"""Photometric augmentation, which leaves the truth unchanged, with torchvision's v2 kernels.

Random numbers come from the sample's own generator, as in the transforms that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional

from ..source import Sample
from .pictures import Transform

Change = Callable[[Tensor, float], Tensor]
"""Changes an image uint8 (3, H, W), by a strength from 0 to 1."""
CHANGES: dict[str, Change] = {
    "grey": lambda image, _: functional.rgb_to_grayscale(image, num_output_channels=3),
    "blur": lambda image, s: functional.gaussian_blur(image, [5, 5], [0.1 + 1.9 * s] * 2),
    "sharpness": lambda image, s: functional.adjust_sharpness(image, 2 * s),
    "equalised": lambda image, _: functional.equalize(image),
    "fewer tones": lambda image, s: functional.posterize(image, 4 + round(3 * s)),
    "JPEG": lambda image, s: functional.jpeg(image, 30 + round(65 * s)),
}


@dataclass(frozen=True)
class Photometric:
    """Changes an image, each change with a ``probability``, then passes it to ``inner``."""

    inner: Transform
    probability: float

    def __call__(
        self, image: Tensor, truth: Tensor, random: np.random.Generator | None = None, /
    ) -> Sample:
        """Return the result of ``inner`` for the changed image uint8 (3, H, W) and its truth."""
        if random is None:
            raise TypeError("Photometric needs the sample's random generator")
        draws = random.random((len(CHANGES), 2))  # always as many
        for change, (chance, strength) in zip(CHANGES.values(), draws, strict=True):
            if chance < self.probability:
                image = change(image, float(strength)).contiguous()
        return self.inner(image, truth, random)


def with_changes(transform: Transform, probability: float) -> Transform:
    """Return a transform that changes the image first; itself if nothing is to change."""
    return Photometric(transform, probability) if probability else transform
