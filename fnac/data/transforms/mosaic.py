"""Mosaic: four images of a batch joined in one, with their boxes, as YOLOv4 trains.

Random numbers come from torch's global generator, which a run seeds before every step: a resumed
run sees the same mosaics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..source import Batch
from .boxes import NO_BOX, kept_boxes

JOINED = 4
"""Images of a mosaic."""
NEAREST, FARTHEST = 0.25, 0.75
"""Where the images may meet, in shares of a side."""


@dataclass(frozen=True)
class Mosaic:
    """Replaces images of a batch by mosaics, each with ``probability``.

    A mosaic shows the image and three others of the batch at half their size around a point that
    is drawn; what lies outside is cut off, what is left empty has the mean colour (0).
    """

    probability: float

    def __call__(self, images: Tensor, truths: Tensor) -> Batch:
        """Return images float32 (n, 3, H, W) and boxes float32 (n, m, 5), unused rows -1.

        images  n >= 4, normalised
        truths  boxes (n, k, 5): x0, y0, x1, y1 in pixels and class id, unused rows -1
        """
        size = (int(images.shape[2]), int(images.shape[3]))
        small = functional.interpolate(
            images, (size[0] // 2, size[1] // 2), mode="bilinear", antialias=True
        )
        joined, boxes = images.clone(), [truth[truth[:, 4] >= 0] for truth in truths]
        whole = list(boxes)
        for place in range(len(images)):
            if float(torch.rand(())) >= self.probability:
                continue
            others = torch.randperm(len(images) - 1)[: JOINED - 1]
            chosen = torch.cat([torch.tensor([place]), others + (others >= place).long()])
            chosen = chosen[torch.randperm(JOINED)]
            shares = NEAREST + (FARTHEST - NEAREST) * torch.rand(2)
            meet = (round(size[0] * float(shares[0])), round(size[1] * float(shares[1])))
            joined[place] = 0
            quarters = [
                _place(joined[place], small[one], whole[one], corner, meet)
                for corner, one in enumerate(chosen.tolist())
            ]
            boxes[place] = torch.cat(quarters)
        rows = truths.new_full((len(boxes), max(map(len, boxes)), 5), NO_BOX)
        for row, kept in zip(rows, boxes, strict=True):
            row[: len(kept)] = kept
        return joined, rows


def _place(
    canvas: Tensor, image: Tensor, boxes: Tensor, corner: int, meet: tuple[int, int]
) -> Tensor:
    """Draw ``image`` (3, h, w) with one corner at ``meet`` (row, column); return its boxes there.

    corner  0 to 3: the image lies above and left, above and right, below and left, below and right
    boxes   (n, 5) in pixels of an image twice as large, about: of the canvas's own size
    """
    height, width = int(image.shape[1]), int(image.shape[2])
    rows, columns = int(canvas.shape[1]), int(canvas.shape[2])
    top = meet[0] if corner >= 2 else meet[0] - height
    left = meet[1] if corner % 2 else meet[1] - width
    y0, y1 = max(0, top), min(rows, top + height)
    x0, x1 = max(0, left), min(columns, left + width)
    canvas[:, y0:y1, x0:x1] = image[:, y0 - top : y1 - top, x0 - left : x1 - left]
    factors = boxes.new_tensor([width / columns, height / rows] * 2)
    moved = boxes[:, :4] * factors + boxes.new_tensor([left, top] * 2)
    return kept_boxes(moved, boxes[:, 4:], (x0, y0, x1, y1))
