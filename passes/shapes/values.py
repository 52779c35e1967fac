"""Small tensors of which only some numbers are known: sizes, their arithmetic, and scales.

An element is a number, a *symbol* (a str: two equal symbols are equal sizes, never negative) or
None, about which nothing is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

Element = int | float | bool | str | None

LONGEST = 1024
"""Elements up to which a tensor is followed; the sizes of a network are a handful."""


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of one tensor: ``elements`` (an array of objects) and its ``dtype``."""

    elements: np.ndarray
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(int(d) for d in self.elements.shape)

    def flat(self) -> list[Element]:
        """Return the elements in order."""
        return list(self.elements.reshape(-1))

    def numbers(self) -> np.ndarray | None:
        """Return the tensor, in its own type, if every element is a number, else None."""
        if any(element is None or isinstance(element, str) for element in self.flat()):
            return None
        try:
            return np.array(self.flat(), self.dtype).reshape(self.shape)
        except OverflowError:  # what the network computes then is nobody's size
            return None

    def integers(self) -> list[int | str | None] | None:
        """Return the elements of an integer tensor of rank 1, symbols and Nones included."""
        if self.dtype.kind not in "iub" or self.elements.ndim != 1:
            return None
        return [e if e is None or isinstance(e, str) else int(e) for e in self.flat()]


def value_of(array: np.ndarray) -> Value | None:
    """Return a tensor whose numbers are all known; None if it is too long or not numeric."""
    if array.size > LONGEST or array.dtype.kind not in "iubf":
        return None
    elements = np.empty(array.shape, object)
    for place, number in enumerate(array.reshape(-1).tolist()):
        elements.reshape(-1)[place] = number
    return Value(elements, array.dtype)


def vector(elements: Sequence[Element], dtype: Any = np.int64) -> Value:
    """Return a tensor of rank 1."""
    array = np.empty(len(elements), object)
    array[:] = list(elements)
    return Value(array, np.dtype(dtype))


def scalar(element: Element, dtype: Any = np.int64) -> Value:
    """Return a tensor of rank 0."""
    array = np.empty((), object)
    array[()] = element
    return Value(array, np.dtype(dtype))
