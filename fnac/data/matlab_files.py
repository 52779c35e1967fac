"""Read one array of numbers from a MATLAB file (version 5 to 7), with numpy only.

Bytes from outside go through no C code that trusts them: every length is held against what is left
of the file before it is believed. Layout: "MAT-File Format" (MathWorks), level 5. A file is a
header of 128 bytes and elements (type, size, data, padded to 8 bytes); a matrix is an element of
elements: flags, dimensions, name, numbers; a compressed element holds one matrix.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fnac.errors import DataError

HEADER = 128
LARGEST = 1 << 30
"""Bytes that a compressed variable may grow to; joints of a million persons have fewer."""
MATRIX, COMPRESSED = 14, 15
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""Type of an element -> numbers it holds."""
NUMERIC = range(6, 16)
"""Classes of a matrix that are plain numbers: double to uint64."""
COMPLEX = 0x0800

Order = Literal["<", ">"]


class _BrokenError(Exception):
    """The bytes do not follow the format; the message is the reason."""


@dataclass(frozen=True)
class _Element:
    kind: int
    data: bytes


def read_matlab(path: Path, variable: str, what: str) -> npt.NDArray[Any] | None:
    """Return a variable of a MATLAB file, None if it has no such variable; raises DataError."""
    try:
        content = path.read_bytes()
        order = _order(content)
        for element in _elements(content[HEADER:], order):
            name, array = _matrix(_inflated(element, order), order, variable)
            if name == variable:
                return array
    except (OSError, _BrokenError) as error:
        raise DataError(f"{path}: not a MATLAB file ({error}); wanted {what}") from error
    return None


def _order(content: bytes) -> Order:
    if content.startswith(b"\x89HDF"):
        raise _BrokenError("of version 7.3, which is HDF5: save it with -v7")
    if b"MATLAB 7.3" in content[:HEADER]:
        raise _BrokenError("of version 7.3, which is HDF5: save it with -v7")
    mark = content[126:128]
    if mark not in (b"IM", b"MI"):
        raise _BrokenError("no header of version 5 to 7")
    return "<" if mark == b"IM" else ">"


def _elements(data: bytes, order: Order, small: bool = False) -> Iterator[_Element]:
    """Yield the elements that bytes consist of; ``small``: short ones may share their tag."""
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    place = 0
    while place + 8 <= len(data):
        kind = int.from_bytes(data[place : place + 4], byteorder)
        size = int.from_bytes(data[place + 4 : place + 8], byteorder)
        start = place + 8
        if small and kind >> 16:  # size and type in one word, up to four bytes behind it
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise _BrokenError(f"a short element of {size} bytes")
        if start + size > len(data):
            raise _BrokenError(f"{size} bytes are stated, {len(data) - start} are left")
        yield _Element(kind, data[start : start + size])
        end = start + size
        # compressed elements are not padded
        place = place + 8 if start == place + 4 else end if kind == COMPRESSED else end + -end % 8
    if data[place:].strip(b"\0"):
        raise _BrokenError(f"{len(data) - place} bytes after the last variable")


def _inflated(element: _Element, order: Order) -> _Element:
    if element.kind != COMPRESSED:
        return element
    engine = zlib.decompressobj()
    try:
        data = engine.decompress(element.data, LARGEST)
    except zlib.error as error:
        raise _BrokenError(str(error)) from error
    if not engine.eof:
        raise _BrokenError("a compressed variable that ends early, or is larger than 1 GiB")
    for inner in _elements(data, order):
        return inner
    raise _BrokenError("a compressed variable without content")


def _matrix(
    element: _Element, order: Order, variable: str
) -> tuple[str | None, npt.NDArray[Any] | None]:
    """Return name and numbers of a matrix; None for another variable."""
    if element.kind != MATRIX:
        return None, None
    parts = _elements(element.data, order, small=True)
    head = [next(parts, None) for _ in range(3)]
    flags, sizes, named = head
    if flags is None or sizes is None or named is None or len(flags.data) < 8:
        raise _BrokenError("a variable without flags, dimensions and name")
    name = named.data.decode("ascii", errors="replace")
    if name != variable:
        return name, None
    if sizes.kind != 5 or len(sizes.data) % 4:
        raise _BrokenError(f"'{name}' without dimensions")
    shape = tuple(int(n) for n in np.frombuffer(sizes.data, f"{order}i4"))
    word = int(np.frombuffer(flags.data[:4], f"{order}u4")[0])
    if word & 0xFF not in NUMERIC or word & COMPLEX:
        raise _BrokenError(f"'{name}' is no array of real numbers")
    numbers = next(parts, None)
    if numbers is None or numbers.kind not in STORED:
        raise _BrokenError(f"'{name}' without numbers")
    kind = np.dtype(f"{order}{STORED[numbers.kind]}")
    count = 1
    for side in shape:
        if side < 0:
            raise _BrokenError(f"'{name}' with a negative dimension")
        count *= side
    if len(shape) > 8 or count * kind.itemsize != len(numbers.data):
        raise _BrokenError(f"'{name}' of {shape} with {len(numbers.data)} bytes")
    flat = np.frombuffer(numbers.data, kind)
    return name, flat.reshape(shape, order="F").astype(kind.newbyteorder("="))
