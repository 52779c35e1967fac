"""Annotations in JSON: reading a file, and numbers out of it, with errors that name the place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError


def read_json(path: Path, wanted: str) -> Any:
    """Return what a JSON file holds; DataError where it is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; wanted {wanted}; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); wanted {wanted}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON (line {error.lineno}: {error.msg}); wanted {wanted}"
        ) from error


def read_numbers(
    entry: Mapping[str, Any], key: str, shape: Sequence[int], where: str
) -> npt.NDArray[np.float64]:
    """Return ``entry[key]`` as a float64 array of ``shape``; DataError says what else was found."""
    wanted = "x".join(str(n) for n in shape) + " numbers" if shape else "a number"
    if key not in entry:
        raise DataError(f"{where}: no '{key}'; wanted {wanted}")
    try:
        array = np.asarray(entry[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: '{key}' is {_short(entry[key])}; wanted {wanted}") from None
    if array.shape != tuple(shape):
        found = "x".join(str(n) for n in array.shape) or _short(entry[key])
        raise DataError(f"{where}: '{key}' holds {found}; wanted {wanted}")
    if not np.isfinite(array).all():
        raise DataError(f"{where}: '{key}' holds {_short(entry[key])}; wanted finite numbers")
    return array


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
