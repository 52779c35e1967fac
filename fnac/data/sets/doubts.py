"""Problems between samples: images in two splits or listed twice, boxes twice, mixed palettes.

Each of these trains and measures without an error and ends in a number that is wrong.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fnac.findings import Finding

from ..files import is_16_bit, read_image
from .boxes import BoxPicture
from .listed import ListedSource, Seen
from .masks import Pair
from .person_doubts import person_doubts

DARK = 64
"""The brightest pixel of images that are not told of, of 255: 14 bits in files of 16 have 63."""
LOOKED_AT = 8
"""About as many images of a split are looked at."""
ENDS = 4096
"""Bytes at either end of a file by which, with its size, two images are told apart."""


def doubts(source: ListedSource[object], measured: str | None) -> Iterator[Finding]:
    """Return what is doubtful in the training split, alone and against the measured split."""
    if measured not in (None, "train"):
        yield from _images_in_both(source, str(measured))
    names = [name for name in ("train", measured) if name is not None]
    for name in dict.fromkeys(names):
        yield from _images_twice(name, source.kept(name))
        yield from _boxes_twice(name, source.kept(name))
        yield from person_doubts(name, source.kept(name))
        yield from _dark(name, _images(source.kept(name)))
    pairs = [(i, s) for name in dict.fromkeys(names) for i, s in _looks(source, name)]
    yield from _mixed_palettes(pairs)


def _looks(source: ListedSource[object], name: str) -> Iterator[tuple[object, Seen]]:
    return zip(source.kept(name), source.seen(name), strict=True)


def _images_in_both(source: ListedSource[object], measured: str) -> Iterator[Finding]:
    train, other = _images(source.kept("train")), _images(source.kept(measured))
    sizes = {path: path.stat().st_size for path in {*train, *other}}
    common = {sizes[path] for path in train} & {sizes[path] for path in other}
    known = {_mark(path): path for path in train if sizes[path] in common}
    marks = [(path, _mark(path)) for path in other if sizes[path] in common]
    both = [(path, known[mark]) for path, mark in marks if mark in known]
    if both:
        one, twin = both[0]
        yield Finding(
            "images-in-both",
            f"data: {len(both)} of {len(other)} images of '{measured}' are in 'train' as well "
            f"({_place(one, source.root)} is {_place(twin, source.root)}): the metric is of images "
            "that were trained on; remove them from one of the two",
        )


def _images(items: Sequence[object]) -> tuple[Path, ...]:
    images = (getattr(item, "image", None) for item in items)
    return tuple(dict.fromkeys(path for path in images if isinstance(path, Path)))


def _mark(path: Path) -> bytes:
    """Return a digest of a file's size and of its first and last bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        return hashlib.sha256(b"%d " % size + first + file.read(ENDS)).digest()


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _images_twice(name: str, items: Sequence[object]) -> Iterator[Finding]:
    """Find images that a list names several times; several persons of an image are none of them."""
    times = Counter(item.image for item in items if isinstance(item, Pair | BoxPicture))
    twice = [path.name for path, count in times.items() if count > 1]
    if twice:
        images = "1 image is" if len(twice) == 1 else f"{len(twice)} images are"
        yield Finding(
            f"images-twice-{name}",
            f"data: {images} listed more than once in '{name}' (first {twice[0]}), and trained on "
            "and measured that often; list each image once",
        )


def _boxes_twice(name: str, items: Sequence[object]) -> Iterator[Finding]:
    twice, where = 0, ""
    for picture in items:
        if isinstance(picture, BoxPicture) and len(picture.boxes) > 1:
            more = len(picture.boxes) - len(np.unique(picture.boxes, axis=0))
            where = where or (picture.image.name if more else "")
            twice += more
    if twice:
        boxes = "1 box is" if twice == 1 else f"{twice} boxes are"
        yield Finding(
            f"boxes-twice-{name}",
            f"data: {boxes} in '{name}' twice, with the same corners and class (first in {where}): "
            "no network can find the second of two, which lowers the metric; remove them",
        )


def _dark(name: str, images: Sequence[Path]) -> Iterator[Finding]:
    """Find images that are nearly black, as 10 or 12 bits in files of 16 are."""
    some = [path for path in images[:: max(1, len(images) // LOOKED_AT)] if is_16_bit(path)]
    brightest = max((int(read_image(path).max()) for path in some[:LOOKED_AT]), default=DARK)
    if brightest < DARK:
        yield Finding(
            f"images-dark-{name}",
            f"data: images of 16 bits in '{name}' are nearly black: the brightest pixel is "
            f"{brightest} of 255 (first {some[0].name}); if they hold 10, 12 or 14 bits, scale "
            "them so that white is 65535",
        )


def _mixed_palettes(looks: Sequence[tuple[object, Seen]]) -> Iterator[Finding]:
    colours: dict[int, tuple[int, Path]] = {}
    for item, seen in looks:
        if not isinstance(item, Pair):
            continue
        for index, colour in seen.palette.items():
            before, mask = colours.setdefault(index, (colour, item.mask))
            if before != colour:
                yield Finding(
                    "mixed-palettes",
                    f"data: index {index} of the palette is {_rgb(before)} in {mask.name} and "
                    f"{_rgb(colour)} in {item.mask.name}: the index counts as the class, not the "
                    "colour; if the colour says the class, give the colours in colours.txt "
                    "('R G B NAME' per line)",
                )
                return


def _rgb(colour: int) -> str:
    return f"{colour >> 16} {colour >> 8 & 255} {colour & 255}"
