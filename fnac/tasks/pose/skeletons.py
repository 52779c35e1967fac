"""Draw persons: limbs as lines, joints as dots, truth and prediction side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from fnac.data.sets.joints import JointSet
from fnac.passes.graph.joint_names import sides_of

from ..panels import lay_beside

SMALLEST_SIDE = 288
"""Pixels; the report shows an image of them at a third of that."""
LEFT, RIGHT, MIDDLE = (80, 160, 255), (255, 120, 60), (250, 220, 80)


def draw_persons(image: Tensor, truth: Tensor, predicted: Tensor, joints: JointSet) -> Image.Image:
    """Lay image uint8 (3, H, W), its true and its predicted skeleton side by side.

    truth: (K, 3), x, y, visibility; predicted: (K, 2), all joints drawn. Small images are enlarged.
    Limbs of the left side are blue, those of the right orange, the others yellow.
    """
    factor = max(1, -(-SMALLEST_SIDE // min(image.shape[1:])))
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    plain = picture.resize((picture.width * factor, picture.height * factor))
    labelled = [bool(seen > 0) for seen in truth[:, 2]]
    tiles = [
        plain,
        _skeleton(plain, truth, labelled, factor, joints),
        _skeleton(plain, predicted, [True] * len(predicted), factor, joints),
    ]
    return lay_beside([np.asarray(tile) for tile in tiles])


def _skeleton(
    plain: Image.Image, places: Tensor, drawn: list[bool], factor: int, joints: JointSet
) -> Image.Image:
    picture = plain.copy()
    pen = ImageDraw.Draw(picture)
    spots = [((float(p[0]) + 0.5) * factor, (float(p[1]) + 0.5) * factor) for p in places]
    width = max(3, picture.height // 48)
    for a, b in joints.limbs:
        if drawn[a] and drawn[b]:
            pen.line([spots[a], spots[b]], fill=_colour(joints, a, b), width=width)
    for place, (x, y) in enumerate(spots):
        if drawn[place]:
            box = (x - width, y - width, x + width, y + width)
            pen.ellipse(box, fill=_colour(joints, place), outline="black")
    return picture


def _colour(joints: JointSet, *places: int) -> tuple[int, int, int]:
    named = sides_of(joints.names)
    sides = {named[place][0] for place in places}
    if "left" in sides:
        return MIDDLE if "right" in sides else LEFT
    return RIGHT if "right" in sides else MIDDLE
