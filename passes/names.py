"""Suggest the known name that a user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 2
"""Suggestions in one sentence; more are no help."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``; did you mean 'clean'?``, or nothing where no known name is close."""
    close = difflib.get_close_matches(str(name).lower(), list(known), MOST, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
