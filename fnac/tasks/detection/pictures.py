"""Images with boxes: the truth on the left, the detections on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fnac.data.transforms.boxes import Fit, resize_boxed

from ..overlay import draw_tag
from ..panels import lay_beside, palette
from .coco_metric import Found

SHOWN_SCORE = 0.3
"""Detections below are not drawn."""
SHOWN_PIXELS = 480
"""Long side of a drawn image; the report shows it at less than half of that."""
TAG_SIZE, LINE = 24, 4
"""Pixels of a tag's letters and of a box's line."""


def draw_boxes(
    image: Tensor, truth: Tensor, detections: Found, classes: Sequence[str]
) -> Image.Image:
    """Return image uint8 (3, H, W) twice, side by side: with its boxes (n, 5), and with detections.

    Boxes of the truth carry their class, detections their score; colours are the classes'.
    """
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
    right = _drawn(picture, answers, [f"{score:.2f}" for score in detections.scores[shown]])
    return lay_beside([left, right])


def _drawn(image: Tensor, boxes: Tensor, tags: Sequence[str]) -> np.ndarray:
    """Draw boxes (n, 5) with their tags on image uint8 (3, H, W); the first lie on top."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    pen, font, colours = ImageDraw.Draw(picture), ImageFont.load_default(TAG_SIZE), palette()
    for (x0, y0, x1, y1, label), tag in reversed(list(zip(boxes.tolist(), tags, strict=True))):
        r, g, b = (int(part) for part in colours[1 + int(label) % 254])
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=(r, g, b), width=LINE)
        draw_tag(pen, (x0, y0), tag, (r, g, b), font)
    return np.asarray(picture)
