"""How candidates are spelled.

``k5e6``: kernel and expansion; ``k5g2``: kernel and groups; ``k5g1w1.5``: hidden channels as
multiples of the seed's as well; ``k5``: the kernel alone.
"""

from __future__ import annotations

import dataclasses
import re

from .errors import FnacError

SKIP = "skip"

_NUMBER = r"(\d+(?:\.\d+)?)"
_NAME = re.compile(rf"k(\d+)(?:e{_NUMBER}|(?:g(\d+))?(?:w{_NUMBER})?)")


class CandidateNameError(FnacError):
    """A candidate is spelled in a way that means nothing."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Spelled:
    """What a candidate's name says; None where it says nothing of it."""

    kernel: int
    expansion: float | None = None
    groups: int | None = None
    width: float | None = None


def read_name(name: str) -> Spelled:
    """Read the name of a candidate with a block. Raises CandidateNameError for anything else."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) % 2 == 0 or match[3] == "0":
        raise CandidateNameError(
            f"candidate {name!r}: k5e6 (odd kernel, expansion), k5g2 (odd kernel, groups), "
            "k5g2w1.5 (and hidden width) or k5 is wanted"
        )
    expansion, width = (None if match[i] is None else float(match[i]) for i in (2, 4))
    groups = None if match[3] is None else int(match[3])
    return Spelled(int(match[1]), expansion, groups, width)


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
