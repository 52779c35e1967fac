"""How candidates are spelled: ``k5e6`` (kernel, expansion), ``k5g2`` (kernel, groups), ``k5``."""

from __future__ import annotations

import dataclasses
import re

from .errors import FnacError

SKIP = "skip"

_NAME = re.compile(r"k(\d+)(?:e(\d+(?:\.\d+)?)|g(\d+))?")


class CandidateNameError(FnacError):
    """A candidate is spelled in a way that means nothing."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Spelled:
    """What a candidate's name says; ``expansion`` and ``groups`` are None where it says none."""

    kernel: int
    expansion: float | None = None
    groups: int | None = None


def read_name(name: str) -> Spelled:
    """Read the name of a candidate with a block. Raises CandidateNameError for anything else."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) % 2 == 0 or match[3] == "0":
        raise CandidateNameError(
            f"candidate {name!r}: k5e6 (odd kernel, expansion), k5g2 (odd kernel, groups) or k5 is "
            "wanted"
        )
    expansion = None if match[2] is None else float(match[2])
    return Spelled(int(match[1]), expansion, None if match[3] is None else int(match[3]))


def spell(kernel: int, *, expansion: float | None = None, groups: int | None = None) -> str:
    """Spell a candidate; an expansion that is no whole number gets two decimals."""
    if expansion is not None:
        return f"k{kernel}e{round(expansion, 2):g}"
    return f"k{kernel}" if groups is None else f"k{kernel}g{groups}"
