"""Read image files, and check that they are whole."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from fnac.errors import DataError
from fnac.progress import StepProgress
from fnac.ranks import is_first_rank

Item = TypeVar("Item")
Found = TypeVar("Found")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

# What Pillow raises on files that are no pictures, or broken ones.
_BROKEN = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a picture into uint8 (H, W, 3), RGB; raises DataError."""
    try:
        with Image.open(path) as file:
            return np.array(file.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; wanted a picture; check the path") from None
    except _BROKEN as error:
        raise _undecodable(path, error) from error


def verify_picture(path: Path) -> tuple[int, int]:
    """Read header and container, without the pixels where they can be trusted.

    Returns (width, height) in pixels; raises DataError where the file is missing or broken.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; wanted a picture; add it, or take it off the list")
    try:
        with Image.open(path) as file:
            size, kind = file.size, file.format
            if kind == "PNG":
                file.verify()  # checksums of all chunks, without inflating them
            elif kind != "JPEG" or not _ends_well(path):
                file.load()  # a JPEG without its end marker, or another format: decode to know
    except _BROKEN as error:
        raise _undecodable(path, error) from error
    return size


def on_threads(look: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
    """Yield what ``look`` says of each item, in order; a few threads look ahead by 64 items.

    How far they are is shown, for a whole data set takes minutes.
    """
    workers, count = min(8, os.cpu_count() or 1), len(items)
    with (
        StepProgress("check", count, shown=is_first_rank(), unit="file", brief=True) as progress,
        ThreadPoolExecutor(workers, thread_name_prefix="fnac-check") as pool,
    ):
        for start in range(0, count, 64):
            yield from pool.map(look, items[start : start + 64])
            progress.advance(min(start + 64, count))


def list_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """List the files of a folder by stem, sorted; DataError where two share a stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(
                    f"{path}: {found[path.stem].name} has the same name; wanted one picture a "
                    "name, because masks are found by it; remove one of them"
                )
            found[path.stem] = path
    return found


def require_folder(folder: Path, what: str) -> None:
    """Raise DataError unless ``folder`` is there."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; wanted {what}; check the path in --data")


def _ends_well(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-min(2, path.stat().st_size), os.SEEK_END)
        return stream.read() == b"\xff\xd9"


def _undecodable(path: Path, error: BaseException) -> DataError:
    if path.is_file() and path.stat().st_size == 0:
        return DataError(f"{path}: empty file; wanted a picture; copy it again")
    reason = "not a picture" if "cannot identify" in str(error) else str(error).rstrip(".")
    return DataError(f"{path}: cannot be decoded ({reason}); wanted a whole picture; copy it again")
