"""Images with boxes: the truth on the left, the detections on the right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from fnac.data.transforms.boxes import Fit, resize_boxed

from ..panels import lay_beside, palette
from .coco_metric import Found

SHOWN_SCORE = 0.3
"""Detections below are not drawn."""
SHOWN_PIXELS = 480
"""Long side of a drawn image."""


def draw_boxes(
    image: Tensor, truth: Tensor, detections: Found, classes: Sequence[str]
) -> Image.Image:
    """Return uint8 (3, H, W) twice, side by side: with its boxes (n, 5), and with detections."""
    size = Fit((SHOWN_PIXELS, SHOWN_PIXELS)).scaled(*image.shape[1:])
    shown = detections.scores >= SHOWN_SCORE
    rows = torch.cat(
        [
            torch.from_numpy(detections.boxes[shown]).float(),
            torch.from_numpy(detections.labels[shown]).float()[:, None],
        ],
        dim=1,
    )
    picture, objects = resize_boxed(image, truth, size)
    _, answers = resize_boxed(image, rows, size)
    left = _drawn(picture, objects, [classes[int(i)] for i in objects[:, 4]])
    names = [
        f"{classes[int(i)]} {score:.2f}"
        for i, score in zip(answers[:, 4], detections.scores[shown], strict=True)
    ]
    right = _drawn(picture, answers, names)
    return lay_beside([side.permute(1, 2, 0).numpy() for side in (left, right)])


def _drawn(image: Tensor, boxes: Tensor, names: list[str]) -> Tensor:
    if len(boxes) == 0:
        return image
    colours = palette()
    chosen = [tuple(int(c) for c in colours[1 + int(i) % 254]) for i in boxes[:, 4]]
    drawn: Tensor = draw_bounding_boxes(image, boxes[:, :4], names, colors=chosen, width=2)
    return drawn
