"""How candidates are spelled.

``k5e6``: kernel and expansion; ``k5g2``: kernel and groups; ``k5g1w1.5``: hidden channels as
multiples of the seed's as well; ``k5``: the kernel alone. ``kup`` in place of ``k5`` is two more
than the block's own kernel, whatever that is.
"""

from __future__ import annotations

import dataclasses
import re

from ..errors import CandidateNameError

SKIP = "skip"

_NUMBER = r"(\d+(?:\.\d+)?)"
UP = "up"
_NAME = re.compile(rf"k(\d+|{UP})(?:e{_NUMBER}|(?:g(\d+))?(?:w{_NUMBER})?)")


@dataclasses.dataclass(frozen=True)
class Spelled:
    """What a candidate's name says; None where it says nothing of it."""

    kernel: int
    expansion: float | None = None
    groups: int | None = None
    width: float | None = None


def read_name(name: str, own: int = 1) -> Spelled:
    """Read the name of a candidate with a block. Raises CandidateNameError for anything else.

    own  kernel of the block that it is to be a candidate of
    """
    match = _NAME.fullmatch(name)
    kernel = 0 if match is None else own + 2 if match[1] == UP else int(match[1])
    if match is None or kernel % 2 == 0 or match[3] == "0":
        raise CandidateNameError(
            f"candidate {name!r}: k5e6 (odd kernel, expansion), k5g2 (odd kernel, groups), "
            "k5g2w1.5 (and hidden width), k5 or kup (two more than the block's own) is wanted"
        )
    expansion, width = (None if match[i] is None else float(match[i]) for i in (2, 4))
    groups = None if match[3] is None else int(match[3])
    return Spelled(kernel, expansion, groups, width)


def spell(
    kernel: int,
    *,
    expansion: float | None = None,
    groups: int | None = None,
    width: float | None = None,
) -> str:
    """Spell a candidate; what is no whole number gets two decimals at most."""
    parts = (("e", expansion), ("g", groups), ("w", width))
    said = (f"{letter}{round(value, 2):g}" for letter, value in parts if value is not None)
    return f"k{kernel}{''.join(said)}"
