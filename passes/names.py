"""Suggest the known name that a user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 2
"""Suggestions in one sentence; more are no help."""
LEAST = 3
"""Letters from which a name is taken for the beginning of another."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``; did you mean 'clean'?``, or nothing where no known name is close.

    Close is what is spelt alike, else what begins with ``name``.
    """
    text, names = str(name).lower(), list(map(str, known))
    close = difflib.get_close_matches(text, names, MOST, cutoff=0.6)
    if not close and len(text) >= LEAST:  # camvid for camvid-deeplabv3
        close = [one for one in names if one.lower().startswith(text)][:MOST]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
