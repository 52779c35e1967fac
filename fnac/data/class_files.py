"""Class lists as tools and people write them: names only, numbered, or with colours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fnac.errors import DataError

from .files import read_text
from .folders import same_spelling
from .source import IGNORE

COLOUR_FILES = ("colours.txt", "colors.txt", "label_colors.txt", "labelmap.txt", "class_dict.csv")
"""What a file of the masks' colours is called: ours, CamVid's, CVAT's, Kaggle's."""

Colour = tuple[int, int, int]
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def read_classes(path: Path, least: int = 2, *, numbered: bool = True) -> list[str]:
    """Read class names, one per line, ``#`` starts a comment; raises DataError.

    numbered  numbers in front of all names are their ids, and no part of them

    Lines that are numbered throughout (``0 road``, ``1: sky``) lose their numbers; a single line
    with commas or semicolons is a list.
    """
    names = [text for _, text in _lines(path, "the class names, one per line in the order of ids")]
    if len(names) == 1 and re.search("[,;]", names[0]):
        names = re.split("[,;]", names[0])
    with_ids = [re.fullmatch(r"(\d+)\s*[\s:,;=.]\s*(.+)", name) for name in names]
    counts = [int(match[1]) for match in with_ids if match and len(match[1]) < 6]
    if (
        numbered
        and len(names) > 1
        and counts in (list(range(len(names))), list(range(1, len(names) + 1)))
    ):
        names = [match[2] for match in with_ids if match]
    names = [name.strip().strip("\"'").rstrip(",;").strip("\"'") for name in names]
    return checked_classes([name for name in names if name], str(path), least)


def checked_classes(names: list[str], where: str, least: int = 2) -> list[str]:
    """Return class names, accents coded in one way; DataError if one is listed twice.

    DataError also if there are too few or too many.
    """
    names = [same_spelling(name) for name in names]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{where}: '{twice}' is listed twice; wanted each class name once")
    if not least <= len(names) <= IGNORE:
        raise DataError(
            f"{where}: {len(names)} class names; wanted {least} to {IGNORE}, one per line"
        )
    return names


def find_colours(root: Path) -> Path | None:
    """Return the file with the colours of a data set's masks, if there is one."""
    return next((root / name for name in COLOUR_FILES if (root / name).is_file()), None)


def read_colours(path: Path) -> dict[str, Colour]:
    """Read the colour of each class: lines ``R G B NAME``, ``NAME R G B`` or ``#rrggbb NAME``.

    Separators are blanks, commas, colons and semicolons (CVAT's ``NAME:R,G,B::``); a line of heads
    in front is passed over. Raises DataError.
    """
    colours: dict[str, Colour] = {}
    for number, text in _lines(path, "a colour and a class name per line", comment="# "):
        named = _colour_and_name(text)
        if named is None:
            if not colours and re.search(r"name|label|class|r.*g.*b", text.lower()):
                continue
            raise DataError(f"{path}: line {number}: '{text[:60]}'; wanted R G B NAME, each 0..255")
        colour, name = named
        if name in colours and colours[name] != colour:
            raise DataError(f"{path}: '{name}' is listed twice, with two colours; wanted one")
        if colour in (c for n, c in colours.items() if n != name):
            raise DataError(f"{path}: line {number}: a second class of colour {colour}")
        colours[name] = colour
    if not colours:
        raise DataError(f"{path}: no colours; wanted R G B NAME per line")
    return colours


def _colour_and_name(text: str) -> tuple[Colour, str] | None:
    numbers = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
    for pattern, places in (
        (rf"{numbers}[\s,;:]+(.+)", (1, 2, 3, 4)),
        (rf"(.+?)[\s,;:]+{numbers}[\s:;,]*.*", (2, 3, 4, 1)),
    ):
        match = re.fullmatch(pattern, text)
        if match:
            red, green, blue = (int(match[i]) for i in places[:3])
            name = match[places[3]].strip().strip("\"'").rstrip(":;,")
            if max(red, green, blue) <= 255 and name:
                return (red, green, blue), name
    first, _, rest = text.partition(" ")
    match = _HEX.fullmatch(first.rstrip(",;:"))
    if match and rest.strip():
        value = int(match[1], 16)
        return (value >> 16, value >> 8 & 255, value & 255), rest.strip()
    return None


def packed_colours(colours: Mapping[str, Colour], classes: list[str]) -> dict[int, int]:
    """Return packed colour -> class id; colours of unknown names become ignore."""
    places = {name: place for place, name in enumerate(classes)}
    return {
        (red << 16) + (green << 8) + blue: places.get(name, IGNORE)
        for name, (red, green, blue) in colours.items()
    }


def _lines(path: Path, what: str, comment: str = r"(^|\s)#") -> Iterator[tuple[int, str]]:
    """Yield (number, text) of the lines that are not empty, without comments.

    comment  where one begins: a ``#`` that is not part of a word (``C#``)
    """
    for number, line in enumerate(read_text(path, what).split("\n"), 1):
        text = re.split(comment, line, maxsplit=1)[0].strip()
        if text:
            yield number, text
