"""What the name of a joint says: the side of the body, and the part."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDES = {
    "left": "left",
    "l": "left",
    "lft": "left",
    "right": "right",
    "r": "right",
    "rgt": "right",
}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


def side_of(name: str) -> tuple[str | None, str]:
    """Return the side that a joint's name says (left, right or None), and the name without it.

    Read are the words of ``left_hip``, ``hip-left``, ``Left Hip``, ``LHip``, ``leftHip``, ``l_hip``
    and ``hip.L`` alike; the rest comes in small letters with ``_`` between its words. One letter is
    a side at either end of a name alone.
    """
    words = [word.lower() for word in _WORDS.findall(_split_capital(name))]
    for place in (0, len(words) - 1, *range(1, len(words) - 1)):
        ends = place in (0, len(words) - 1)
        if len(words) > 1 and words[place] in _SIDES and (ends or len(words[place]) > 1):
            side = _SIDES[words[place]]
            return side, "_".join(words[:place] + words[place + 1 :])
    return None, "_".join(words) or name


def sides_of(names: Sequence[str]) -> list[tuple[str | None, str]]:
    """Return the side and the rest of each name; those of one body explain each other.

    ``lshoulder`` says a side where ``rshoulder`` is there as well; alone it could be any word.
    """
    sided = [side_of(name) for name in names]
    plain = {name.lower(): place for place, name in enumerate(names) if sided[place][0] is None}
    for word, place in plain.items():
        if word.startswith("l") and (twin := plain.get(f"r{word[1:]}")) is not None:
            sided[place], sided[twin] = ("left", word[1:]), ("right", word[1:])
    return sided


def mirrored_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return pairs (left, right) of joints that swap when mirrored, as their names say."""
    sided = sides_of(names)
    right = {rest: i for i, (side, rest) in enumerate(sided) if side == "right"}
    return tuple(
        (i, right[rest]) for i, (side, rest) in enumerate(sided) if side == "left" and rest in right
    )


def _split_capital(name: str) -> str:
    """Insert a space between a capital side and the word after it: ``LHip`` becomes ``L Hip``."""
    return re.sub(r"\b([LR])(?=[A-Z][a-z])", r"\1 ", name)
