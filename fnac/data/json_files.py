"""Annotations in JSON: read files and their values, with errors that name the place.

Tools write numbers as text, whole numbers as ``1.0``, yes and no as 0, "0", false: all are read
alike. Numbers that no float can hold, and nesting that no annotation has, are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError

from .files import read_text

YES, NO = ("1", "true", "yes"), ("", "0", "false", "no", "none")


def read_json(path: Path, what: str) -> Any:
    """Return the content of a JSON file; DataError if it is missing or not JSON."""
    try:
        return json.loads(read_text(path, what))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON (line {error.lineno}: {error.msg}); wanted {what}"
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep; digits without end
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{path}: JSON that cannot be read ({reason}); wanted {what}") from error


def as_number(value: object) -> float | None:
    """Return a finite number, also one written as text; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_key(value: object) -> int | str | None:
    """Return an id: a whole number (also 1.0 and "1") or another text; None for everything else."""
    if isinstance(value, str) and not (value.isdecimal() and value.isascii() and len(value) < 19):
        return value
    number = as_whole(value)
    if isinstance(value, str) and str(number) != value:  # 007 is another id than 7
        return value
    return number


def as_whole(value: object) -> int | None:
    """Return a whole number below 2**63, also one written as 1.0 or "1"; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    number = as_number(value)
    if number is None or number != int(number) or abs(number) >= 2**63:
        return None
    return int(number)


def as_flag(value: object) -> bool | None:
    """Return a flag from a number, text or boolean (absent: False); None for anything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    text = str(as_whole(value)) if as_whole(value) is not None else str(value).strip().lower()
    return True if text in YES else False if text in NO else None


def read_numbers(
    entry: Mapping[str, Any], key: str, shape: Sequence[int], where: str
) -> npt.NDArray[np.float64]:
    """Return ``entry[key]`` as a float64 array of ``shape``; DataError says what else was found."""
    form = "x".join(str(n) for n in shape) + " numbers" if shape else "a number"
    if key not in entry:
        raise DataError(f"{where}: no '{key}'; wanted {form}")
    try:
        array = np.asarray(entry[key], dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise DataError(f"{where}: '{key}' is {short(entry[key])}; wanted {form}") from None
    if array.shape != tuple(shape):
        held = "x".join(str(n) for n in array.shape) or short(entry[key])
        raise DataError(f"{where}: '{key}' holds {held}; wanted {form}")
    if not np.isfinite(array).all():
        raise DataError(f"{where}: '{key}' holds {short(entry[key])}; wanted finite numbers")
    return array


def short(value: object) -> str:
    """Format a value of a file for a message: as JSON, at most 40 characters."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):  # a number of thousands of digits; nested too deep
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 40 else text[:37] + "..."


def unquoted(value: object) -> str:
    """Format an id for a message: text without quotes."""
    return short(value).strip('"')
