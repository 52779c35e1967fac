"""Paint label maps and lay images side by side."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from fnac.data.class_files import Colour
from fnac.data.source import IGNORE

GAP_PIXELS = 4
NAME_BYTES = 120
"""A file name has 255 bytes on the usual file systems, and longer paths break some tools."""


def palette(classes: int = 256) -> npt.NDArray[np.uint8]:
    """Return ``classes`` well-separated colours, uint8 (classes, 3); the last of 256 is black.

    Neighbouring ids are a golden angle apart in hue; id 0 is dark grey, 255 (ignore) black.
    """
    colours = np.zeros((256, 3), dtype=np.uint8)
    for i in range(1, 255):
        hue, light, strength = (i * 0.618034) % 1, 0.42 + 0.07 * (i % 4), 0.55 + 0.15 * (i % 3)
        colours[i] = [round(255 * c) for c in colorsys.hls_to_rgb(hue, light, strength)]
    colours[0] = 70
    return colours[:classes]


def coloured(names: Sequence[str], first: int = 0) -> list[tuple[str, tuple[int, int, int]]]:
    """Return names with their colours in the palette; the first name has that of id ``first``."""
    colours = palette().tolist()
    return [
        (name, (r, g, b))
        for place, name in enumerate(names)
        for r, g, b in [colours[first + place % (255 - first)]]
    ]


def class_palette(own: Mapping[int, Colour]) -> npt.NDArray[np.uint8]:
    """Return the palette with a data set's ``own`` colours in it: uint8 (256, 3).

    If one of them is black, the ignored pixels (255) are cream, as in Pascal VOC.
    """
    colours = palette()
    for label, colour in own.items():
        colours[label] = colour
    if (0, 0, 0) in own.values():
        colours[IGNORE] = (224, 224, 192)
    return colours


def draw_panel(
    image: Tensor, truth: Tensor, prediction: Tensor, own: Mapping[int, Colour] | None = None
) -> Image.Image:
    """Lay image uint8 (3, H, W), truth and prediction (H, W) side by side, in this order.

    own  colours of the data set by class id; the other ids have those of ``palette``
    """
    colours = class_palette(own or {})
    tiles = [
        image.permute(1, 2, 0).numpy(),
        colours[truth.numpy().astype(np.uint8)],
        colours[prediction.numpy().astype(np.uint8)],
    ]
    return lay_beside(tiles)


def file_name(text: str) -> str:
    """Return a file name made from ``text``: short, of letters, digits, ``.-_``.

    Letters of every script stay, as far as they fit into ``NAME_BYTES`` bytes of UTF-8; the caller
    makes the name unique.
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in text)
    return plain.encode(errors="replace")[:NAME_BYTES].decode(errors="ignore")


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    picture.save(partial, format="PNG")
    os.replace(partial, path)


def lay_beside(tiles: Sequence[npt.NDArray[np.uint8]]) -> Image.Image:
    """Lay images uint8 (H, W, 3) of one size side by side, with a white gap."""
    height, width = tiles[0].shape[:2]
    whole = Image.new("RGB", (len(tiles) * (width + GAP_PIXELS) - GAP_PIXELS, height), "white")
    for column, tile in enumerate(tiles):
        whole.paste(Image.fromarray(np.ascontiguousarray(tile)), (column * (width + GAP_PIXELS), 0))
    return whole
