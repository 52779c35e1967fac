"""What is decided about a node: it was changed, or left as it is and why."""

from __future__ import annotations

import dataclasses
import enum


class Code(enum.Enum):
    """A reason that somebody decides by; its sentence is for people alone."""

    NEVER_HAD_BATCHNORM = enum.auto()  # nothing shows that the network's BN was folded


@dataclasses.dataclass(frozen=True)
class Rewrote:
    """The pass changed this node; ``what`` says how, in five words or fewer."""

    what: str


@dataclasses.dataclass(frozen=True)
class Left:
    """What looked like a match was left as it is; ``why`` completes "because ...".

    ``code``  the reason as a value, where somebody decides by it
    """

    why: str
    code: Code | None = None
