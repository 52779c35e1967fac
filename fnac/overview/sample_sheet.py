"""A sample sheet: images of a data set with their ground truth drawn on them, as one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fnac.data.sets.joints import JointSet
from fnac.data.sets.masks import class_colours
from fnac.data.source import IGNORE, Dataset, DataSource, Sample
from fnac.tasks.overlay import draw_boxes, draw_classes, draw_labels, draw_skeletons

TILE = 320
"""Pixels of the longer side of a tile."""
COLUMNS = 4
GAP = 12
CAPTION = 22
Draw = Callable[[Sample], Image.Image]


def sample_sheet(source: DataSource, task: str, split: str, count: int) -> Image.Image:
    """Draw ``count`` samples of a split, spread over it, each under its name, with their truth.

    A truth is drawn in the colours that ``fnac predict`` draws answers in.
    """
    dataset, draw = source.split(split), _drawing(source, task)
    places = spread(len(dataset), count)
    tiles = [_tile(dataset, place, draw) for place in places]
    columns = min(COLUMNS, len(tiles))
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = columns * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) + 1)), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (TILE + GAP), top))
        top += height + GAP
    return sheet


def spread(total: int, count: int) -> list[int]:
    """Return at most ``count`` places out of ``total``, evenly spread, the first among them."""
    count = min(total, count)
    return [place * total // count for place in range(count)]


def _tile(dataset: Dataset, place: int, draw: Draw) -> Image.Image:
    picture = draw(dataset[place])
    factor = TILE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    tile = Image.new("RGB", (TILE, size[1] + CAPTION), "white")
    tile.paste(picture.resize(size), (0, CAPTION))
    name = ascii(dataset.id(place))[1:-1]
    ImageDraw.Draw(tile).text((2, 2), name, fill="black", font=ImageFont.load_default(14))
    return tile


def _drawing(source: DataSource, task: str) -> Draw:
    names: Sequence[str] = source.classes
    own = class_colours(source) if task == "seg" else {}

    def labels(sample: Sample) -> Image.Image:
        ids = sample[1].numpy().astype(np.int64)
        shown = [int(i) for i in np.unique(ids) if i != IGNORE]
        return draw_labels(_pixels(sample), ids, names, shown, own)

    def boxes(sample: Sample) -> Image.Image:
        rows = sample[1].tolist()
        return draw_boxes(_pixels(sample), [(row[:4], None, int(row[4])) for row in rows], names)

    def joints(sample: Sample) -> Image.Image:
        truth = sample[1].numpy()[: len(names)]
        places = np.where(truth[:, 2:] > 0, truth[:, :2], np.nan)
        limbs = getattr(source, "joints", None)
        pairs = limbs.limbs if isinstance(limbs, JointSet) else ()
        return draw_skeletons(_pixels(sample), places[None], names, pairs)

    def classes(sample: Sample) -> Image.Image:
        return draw_classes(_pixels(sample), [(names[int(sample[1])], None)])

    return {"seg": labels, "det": boxes, "pose": joints, "cls": classes}[task]


def _pixels(sample: Sample) -> np.ndarray:
    pixels: np.ndarray = sample[0].permute(1, 2, 0).numpy()
    return pixels
