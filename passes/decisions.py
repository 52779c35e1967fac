"""Decisions about a node: it was changed, or left as it is and why."""

from __future__ import annotations

import dataclasses
import enum


class Code(enum.Enum):
    """A reason that code branches on; its sentence is for people only."""

    NEVER_HAD_BATCHNORM = enum.auto()  # nothing shows that the network's BN was folded


@dataclasses.dataclass(frozen=True)
class Rewrote:
    """The pass changed this node; ``what`` says how, in five words or fewer."""

    what: str


@dataclasses.dataclass(frozen=True)
class Left:
    """The pass left a near match unchanged; ``why`` completes "because ...".

    ``code``  the reason as a value, where somebody decides by it
    """

    why: str
    code: Code | None = None
