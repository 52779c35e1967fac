"""Names of candidates: reading and spelling them.

``k5e6``: kernel and expansion; ``k5g2``: kernel and groups; ``k5g1w1.5``: hidden channels as
multiples of the seed's as well; ``k5``: the kernel alone. ``kup`` in place of ``k5`` is two more
than the block's own kernel, whatever that is.

An expansion and a width may be fractions: ``k3e3.5``. How many channels they ask of a block,
:func:`channels_of` says; how a block's channels are spelled, :func:`multiple_of`.
"""

from __future__ import annotations

import dataclasses
import re

from ..errors import CandidateNameError

SKIP = "skip"

GRID = 8  # channels, as hardware likes them in a tensor
COARSE = 32  # channels below which a step of the grid is too large a change

_NUMBER = r"(\d+(?:\.\d+)?)"
UP = "up"
_NAME = re.compile(rf"k(\d+|{UP})(?:e{_NUMBER}|(?:g(\d+))?(?:w{_NUMBER})?)")


@dataclasses.dataclass(frozen=True)
class Spelled:
    """What a candidate's name says; None where it says nothing."""

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
            f"candidate {name!r}: wanted k5e6 (odd kernel, expansion), k5g2 (odd kernel, groups), "
            "k5g2w1.5 (and hidden width), k5 or kup (two more than the block's own)"
        )
    expansion, width = (None if match[i] is None else float(match[i]) for i in (2, 4))
    groups = None if match[3] is None else int(match[3])
    return Spelled(kernel, expansion, groups, width)


def channels_of(multiple: float, of: int) -> int:
    """Return ``multiple`` times ``of`` as a number of channels.

    Whole multiples are exact. A fraction is taken to the next multiple of 8 channels, except where
    that would be a large step: fewer than 32 channels are rounded to whole ones.
    """
    exact = multiple * of
    if multiple.is_integer() or exact < COARSE:
        return round(exact)
    return GRID * round(exact / GRID)


def multiple_of(channels: int, of: int) -> float:
    """Return ``channels / of`` with as few decimals as distinguish it from its neighbours.

    They are two at least, so that the spelling does not depend on how large the channels are where
    two will do.
    """
    exact = channels / of
    rounded = (round(exact, decimals) for decimals in range(2, 10))
    return next((value for value in rounded if round(value * of) == channels), exact)


def spell(
    kernel: int,
    *,
    expansion: float | None = None,
    groups: int | None = None,
    width: float | None = None,
) -> str:
    """Spell a candidate; ``expansion`` and ``width`` as :func:`multiple_of` makes them."""
    parts = (("e", expansion), ("g", groups), ("w", width))
    said = (f"{letter}{value:.10g}" for letter, value in parts if value is not None)
    return f"k{kernel}{''.join(said)}"
