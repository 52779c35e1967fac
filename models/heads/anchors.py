"""Anchor boxes of the detection heads, as plain data for a network's manifest.

``{"levels": [{"stride", "boxes": [[width, height], ...]}, ...], "scores", "box_std", "centre"}``:
boxes in pixels of the network's input, the same for every cell of a level; a stride is the
distance of cells in pixels, or ``[down, across]``; ``scores`` says how class logits become scores
(``sigmoid``, or ``softmax`` with class 0 as background); a box is decoded from deltas times
``box_std``; ``centre`` is where in its cell an anchor stands.
"""

from __future__ import annotations

import math
from typing import Any

RETINANET_STRIDES = (8, 16, 32, 64, 128)
RETINANET_SCALE = 4
OCTAVES = (0, 1 / 3, 2 / 3)
RATIOS = (0.5, 1.0, 2.0)  # height / width

SSDLITE_STRIDE = 16  # of the finest of the six levels; each next one is half as large, rounded up
SSDLITE_SHARES = (0.10, 0.20, 0.38, 0.56, 0.74, 0.92, 1.10)
"""Side of a level's square box as a share of the image's side; the next entry is its larger one.

The FNA authors' SSDLite: 0.2 to 0.95 in five steps, 0.1 for the finest level.
"""
SSDLITE_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


def retinanet_anchors() -> dict[str, Any]:
    """Return RetinaNet's anchors: 3 octave scales by 3 ratios on strides 8 to 128."""
    levels = []
    for stride in RETINANET_STRIDES:
        boxes = []
        for octave in OCTAVES:
            side = RETINANET_SCALE * stride * 2**octave
            boxes += [[side / math.sqrt(r), side * math.sqrt(r)] for r in RATIOS]
        levels.append({"stride": stride, "boxes": boxes})
    return {"levels": levels, "scores": "sigmoid", "box_std": [1.0] * 4, "centre": 0.5}


def ssdlite_anchors(size: tuple[int, int]) -> dict[str, Any]:
    """Return SSDLite's anchors for images of ``size`` (H, W): 4, 6, 6, 6, 4, 4 per cell."""
    height, width = size
    rows, columns = math.ceil(height / SSDLITE_STRIDE), math.ceil(width / SSDLITE_STRIDE)
    levels = []
    for number, ratios in enumerate(SSDLITE_RATIOS):
        share, larger = SSDLITE_SHARES[number : number + 2]
        shares = [(share, share), (math.sqrt(share * larger),) * 2]
        for ratio in ratios:
            root = math.sqrt(ratio)
            shares += [(share * root, share / root), (share / root, share * root)]
        boxes = [[w * width, h * height] for w, h in shares]
        # cells share the image evenly (SSD, section 2.2): 3 at 320 are 106.7 apart, not 128
        levels.append({"stride": [height / rows, width / columns], "boxes": boxes})
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
    return {
        "levels": levels,
        "scores": "softmax",
        "box_std": [0.1, 0.1, 0.2, 0.2],
        "centre": 0.5,
    }


def anchors_of(head: str, size: tuple[int, int]) -> dict[str, Any] | None:
    """Return the anchors of a detection head at this image size (H, W); None for other heads."""
    if head == "retinanet":
        return retinanet_anchors()
    return ssdlite_anchors(size) if head == "ssdlite" else None
