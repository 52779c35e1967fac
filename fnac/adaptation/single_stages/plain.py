"""Results as plain values, for JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plain(result: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return attributes of a result by name, paths and tuples as texts."""
    values: dict[str, Any] = {}
    for key in keys:
        value = getattr(result, key)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = [str(one) for one in value]
        values[key.rstrip("_")] = value
    return values
