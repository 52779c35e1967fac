"""Settings of ``shrink``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from fnac.data.preprocessing import Stated, parse_stated
from fnac.errors import UsageError


@dataclasses.dataclass(frozen=True)
class ShrinkSettings:
    """Settings of ``fnac shrink``.

    ``images``      images that weights are fitted to
    ``held_back``   further images, on which errors are measured
    ``effort``      networks that are built and measured in the search for widths
    ``multiple``    widths are multiples of this many channels
    ``least``       smallest share of its channels that a block keeps
    ``heads``       also remove hidden channels of a task's head
    ``between``     also remove channels between blocks (a stem's, say); always so where no block
                    has hidden channels of its own, as in plain chains
    ``batch``       images per batch
    ``pixels``      pixels that a fit uses, spread over all images
    ``size``        (H, W) of the images; None: the file's own
    ``mean``        of the preprocessing, on pixels / 255, or imagenet, tf, caffe; None: the file's
    ``std``         of the preprocessing, on pixels / 255
    ``no_verify``   skip the proof after every pass
    """

    section: ClassVar[str] = "shrink"

    images: int = 128
    held_back: int = 32
    effort: int = 6
    multiple: int = 8
    least: float = 0.125
    heads: bool = False
    between: bool = False
    batch: int = 8
    pixels: int = 32768
    size: tuple[int, int] | None = None
    mean: Stated | None = None
    std: Stated | None = None
    no_verify: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        parse_stated(self.mean, self.std)
        for name in ("images", "held_back", "multiple", "batch", "pixels"):
            if getattr(self, name) < 1:
                raise UsageError(f"shrink.{name} {getattr(self, name)}: wanted at least 1")
        if self.effort < 0:
            raise UsageError(f"--effort {self.effort}: wanted 0 or more")
        if not 0 < self.least < 1:
            raise UsageError(f"shrink.least {self.least:g}: wanted a share between 0 and 1")
