"""Settings of training batches that search and tune share."""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fnac.data.preprocessing import manifest_size
from fnac.errors import UsageError

if TYPE_CHECKING:
    from fnac.data.source import Dataset

logger = logging.getLogger(__name__)

LOOKED_AT = 16
"""Training images whose sizes a network without a size goes by."""
STEP = 32
"""Pixels: sizes of images are multiples of it, for backbones halve them five times."""
LONGEST = 512
"""Pixels of the longer side, at most, unless the user says more."""
SAME_SHAPE = 0.05
"""Logarithm of a stretch that is no other shape."""
PERSON = (256, 192)
"""(H, W) of a person's window: that of the COCO models, whatever the images' size."""


def size_of_data(train: Dataset, task: str) -> tuple[int, int]:
    """Return the (H, W) for a network that states none: about the training images'; log it.

    It has their median shape in multiples of ``STEP``, ``LONGEST`` at most; a square for cls, whose
    images are cut to one.
    """
    count = min(LOOKED_AT, len(train))
    shapes = [train[i * len(train) // count][0].shape[-2:] for i in range(count)]
    median = [statistics.median(shape[axis] for shape in shapes) for axis in (0, 1)]
    sides = [min(median)] * 2 if task == "cls" else median
    shrunk = min(1.0, LONGEST / max(sides))
    height, width = (max(STEP, round(side * shrunk / STEP) * STEP) for side in sides)
    if task == "pose":
        height, width = PERSON
    logger.info(
        "size    %dx%d, because neither file nor settings say one and the training images are "
        "about %dx%d; --size HxW takes another",
        *(height, width, *map(round, median)),
    )
    return height, width


def size_of_shape(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return the smallest (H, W) in multiples of ``STEP`` with about an image's aspect ratio.

    Its longer side is ``longest`` or more; where none up to twice that has it, it is the nearest.
    """
    nearest, gap = (STEP, STEP), math.inf
    for side in range(round(longest / STEP) * STEP, 2 * longest + 1, STEP):
        height, width = (max(STEP, round(s * side / max(shape) / STEP) * STEP) for s in shape)
        stretched = abs(math.log(height / width * shape[1] / shape[0]))
        if stretched < gap:
            nearest, gap = (height, width), stretched
        if stretched <= SAME_SHAPE:
            break
    return nearest


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """How a training batch is made."""

    batch_size: int = 8
    """Images per step, over all processes together."""
    size: tuple[int, int] | None = None
    """(H, W) in pixels of a whole image at scale 1; none: the network's own size."""
    crop: tuple[int, int] | None = None
    """(H, W) in pixels of the training crop; none: ``size``."""
    scale: tuple[float, float] = (0.75, 2.0)
    """Range of the random scale; [1, 1]: none."""
    flip: bool = True
    """Mirror half of the images."""
    rotation: float = 0.0
    """Standard deviation of random rotations in degrees, cut off at twice that (pose); 0: none."""
    colour: float = 0.0
    """Strength of random changes of colour; 0: none."""
    photometric: float = 0.0
    """Probability of each of: grey, blur, sharpness, equalised, fewer tones, JPEG; 0: none."""
    workers: int = 1
    """Threads that prepare batches ahead."""
    cache: bool = True
    """Keep decoded images in memory if all of them take less than 2 GiB."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size {self.batch_size}: wanted at least 1 image")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale {list(self.scale)}: wanted two factors, the smaller first")
        if not 0 <= self.photometric <= 1:
            raise UsageError(f"photometric {self.photometric:g}: wanted a probability, 0 to 1")
        if not 0 <= self.rotation <= 180:
            raise UsageError(f"rotation {self.rotation:g}: wanted degrees from 0 to 180")

    def whole_size(self, manifest: Mapping[str, Any]) -> tuple[int, int]:
        """Return (H, W) of a whole image: as set, or the manifest's; UsageError without."""
        size = self.size or manifest_size(manifest)
        if size is None:
            raise UsageError("size: neither set nor in the network's manifest; give --size HxW")
        return size
