"""Draw predictions on their image, with a legend of names and colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fnac.data.class_files import Colour
from fnac.data.source import IGNORE
from fnac.passes.graph.joint_names import sides_of

from .panels import class_palette, palette

OPACITY = 0.55
LEAST_SIDE = 320
"""Smaller images are enlarged, so that names can be read."""
MOST_SIDE = 2048
"""None is enlarged beyond."""
TEXT_SHARE = 36
"""The height of the image in heights of a line."""
MARGIN = 6
LEFT, RIGHT, MIDDLE = (80, 160, 255), (255, 120, 60), (250, 220, 80)
Picture = npt.NDArray[np.uint8]


def draw_labels(
    image: Picture,
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    shown: Sequence[int],
    own: Mapping[int, Colour] | None = None,
) -> Image.Image:
    """Paint class ids (H, W) over image uint8 (H, W, 3); the legend names the classes ``shown``.

    own  colours of the data set by class id; the other ids have those of ``palette``

    What a truth ignores (255) stays as it is in the image.
    """
    colours = class_palette(own or {})
    mixed = (1 - OPACITY) * image.astype(np.float32) + OPACITY * colours[labels % 255]
    if len(names) <= IGNORE:
        mixed = np.where((labels == IGNORE)[..., None], image, mixed)
    picture, _ = _enlarged(mixed.round().astype(np.uint8))
    return _with_legend(picture, [(_colour(i, colours), names[i]) for i in shown])


def draw_boxes(
    image: Picture,
    detections: Sequence[tuple[Sequence[float], float | None, int]],
    names: Sequence[str],
) -> Image.Image:
    """Draw (x0 y0 x1 y1, score, class id) on image uint8 (H, W, 3); the best lie on top.

    A truth has no score.
    """
    picture, factor = _enlarged(image)
    pen, font = ImageDraw.Draw(picture), _font(picture)
    width = max(2, picture.height // 200)
    for box, score, label in reversed(detections):
        name = names[label] if score is None else f"{names[label]} {score:.2f}"
        x0, y0, x1, y1 = (edge * factor for edge in box)
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=_colour(label), width=width)
        draw_tag(pen, (x0, y0), name, _colour(label), font)
    shown = dict.fromkeys(label for _, _, label in detections)
    return _with_legend(picture, [(_colour(i), names[i]) for i in shown])


def draw_skeletons(
    image: Picture,
    persons: npt.NDArray[np.float64],
    names: Sequence[str],
    limbs: Sequence[tuple[int, int]],
) -> Image.Image:
    """Draw joints float (P, K, 2) and limbs on image uint8 (H, W, 3): left blue, right orange.

    Joints that are not known (nan) are left out, with their limbs.
    """
    picture, factor = _enlarged(image)
    pen = ImageDraw.Draw(picture)
    width = max(2, picture.height // 120)
    sides = [side for side, _ in sides_of(names)]
    for joints in persons:
        spots = [((float(x) + 0.5) * factor, (float(y) + 0.5) * factor) for x, y in joints]
        known = [not math.isnan(x) for x, _ in spots]
        for a, b in limbs:
            if known[a] and known[b]:
                pen.line([spots[a], spots[b]], fill=_colour_of(sides[a], sides[b]), width=width)
        for side, (x, y) in zip(sides, spots, strict=True):
            if math.isnan(x):
                continue
            place = (x - width, y - width, x + width, y + width)
            pen.ellipse(place, fill=_colour_of(side), outline="black")
    return _with_legend(picture, [(LEFT, "left"), (RIGHT, "right"), (MIDDLE, "middle")])


def draw_classes(image: Picture, best: Sequence[tuple[str, float | None]]) -> Image.Image:
    """Write (name, probability) in bars below image uint8 (H, W, 3); a truth has none."""
    picture, _ = _enlarged(image)
    font, line = _font(picture), _line(picture)
    whole = Image.new("RGB", (picture.width, picture.height + line * len(best) + MARGIN), "white")
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    for row, (name, share) in enumerate(best):
        top = picture.height + MARGIN // 2 + row * line
        filled = round(whole.width * (share or 0))
        pen.rectangle((0, top, filled, top + line - 2), fill=(190, 215, 245))
        words = name if share is None else f"{name} {100 * share:.1f} %"
        pen.text((MARGIN, top), words, fill="black", font=font)
    return whole


def _enlarged(image: Picture) -> tuple[Image.Image, int]:
    picture = Image.fromarray(np.ascontiguousarray(image))
    enough = -(-LEAST_SIDE // min(picture.size))
    factor = max(1, min(enough, MOST_SIDE // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST), factor


def _with_legend(picture: Image.Image, entries: Sequence[tuple[Colour, str]]) -> Image.Image:
    """Draw coloured squares with names below an image, as many per row as fit."""
    if not entries:
        return picture
    font, line = _font(picture), _line(picture)
    places: list[tuple[int, int]] = []
    x, row = MARGIN, 0
    for _, name in entries:
        wide = line + MARGIN + round(font.getlength(name)) + 2 * MARGIN
        if x > MARGIN and x + wide > picture.width:
            x, row = MARGIN, row + 1
        places.append((x, row))
        x += wide
    whole = Image.new("RGB", (picture.width, picture.height + (row + 1) * line + MARGIN), "white")
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    for (colour, name), (left, number) in zip(entries, places, strict=True):
        top = picture.height + MARGIN // 2 + number * line
        side = line - 4
        pen.rectangle((left, top + 2, left + side, top + 2 + side), fill=colour, outline="black")
        pen.text((left + line + MARGIN, top), name, fill="black", font=font)
    return whole


def draw_tag(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write ``text`` on ``colour`` above a corner, or below if there is no room."""
    left, _, right, bottom = pen.textbbox((0, 0), text, font=font)
    high = bottom + 2
    x, y = corner[0], corner[1] - high if corner[1] >= high else corner[1]
    pen.rectangle((x, y, x + right - left + 4, y + high), fill=colour)
    bright = sum(weight * part for weight, part in zip((0.3, 0.59, 0.11), colour, strict=True))
    pen.text((x + 2, y), text, fill="black" if bright > 140 else "white", font=font)


def _line(picture: Image.Image) -> int:
    return max(14, picture.height // TEXT_SHARE + 6)


def _font(picture: Image.Image) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_line(picture) - 4)


def _colour(label: int, colours: npt.NDArray[np.uint8] | None = None) -> Colour:
    colours = palette() if colours is None else colours
    r, g, b = (int(part) for part in colours[label % 255])
    return r, g, b


def _colour_of(*sides: str | None) -> Colour:
    said = {side for side in sides if side is not None}
    return MIDDLE if len(said) != 1 else LEFT if said == {"left"} else RIGHT
