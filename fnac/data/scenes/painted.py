"""Samples that are painted on demand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..source import Sample
from .describe import Scene, describe_scene
from .render import render_scene

KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class SceneDataset:
    """``count`` scenes of series ``random_seed`` from ``first`` on, with their class masks."""

    random_seed: int
    first: int
    count: int
    size: tuple[int, int]
    _kept: dict[int, tuple[Tensor, Tensor, npt.NDArray[np.uint8]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        """Count the scenes."""
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and mask uint8 (H, W); not to be changed in place."""
        image, mask, _ = self.painted(index)
        return image, mask

    def id(self, index: int) -> str:
        """Return the scene's number in its series."""
        return f"scene-{self.random_seed}-{self.first + index}"

    def description(self, index: int) -> Scene:
        """Return the scene before it is painted."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        height, width = self.size
        return describe_scene(self.random_seed, self.first + index, height, width)

    def painted(self, index: int) -> tuple[Tensor, Tensor, npt.NDArray[np.uint8]]:
        """Return image, mask and the number of the object seen at each pixel (H, W)."""
        sample = self._kept.get(index)
        if sample is None:
            image, mask, numbers = render_scene(self.description(index))
            sample = torch.from_numpy(image), torch.from_numpy(mask), numbers
            height, width = self.size
            if 5 * height * width * self.count <= KEPT_BYTES:
                self._kept[index] = sample
        return sample
