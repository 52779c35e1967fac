"""Small integer tensors of which only some numbers are known: shapes with symbols in them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..graph import Graph, Shape
from ..graph.surgery import argument, stored

Element = int | str | None  # a number, a symbol (equal symbols are equal numbers), unknown
Partial = tuple[Element, ...]  # a tensor of rank 1, or of rank 0 as one element

LONGEST = 64
LARGEST = 2**63 - 1

_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Equal": operator.eq,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if a * b >= 0 else -1) if b else 0,
}


class Known(tuple[Element, ...]):
    """A partially known tensor (truths are 1 and 0) and whether it is a scalar (rank 0)."""

    scalar: bool = False


def numbers(partial: Partial | None) -> np.ndarray | None:
    """Return ``partial`` as an int64 array if every number is known, else None."""
    if partial is None or any(not isinstance(v, int) for v in partial):
        return None
    values = np.array(partial, np.int64)
    return values.reshape(()) if getattr(partial, "scalar", False) else values


def propagate(graph: Graph, shapes: dict[str, Shape]) -> dict[str, Partial]:
    """Follow shape arithmetic through the graph.

    shapes   tensor name -> shape, symbols where a size must stay free
    returns  tensor name -> what is known of it; tensors about which nothing is known are absent
    """
    known: dict[str, Partial] = {}
    for node in graph.nodes:
        if len(node.outputs) != 1:
            continue
        value = _follow(node, known, shapes)
        if value is not None and len(value) <= LONGEST:
            known[node.outputs[0].name] = value
    return known


def _known(values: Any, *, scalar: bool = False) -> Known:
    made = Known(values)
    made.scalar = scalar
    return made


def _read(tensor: gs.Tensor | None, known: dict[str, Partial]) -> Partial | None:
    values = stored(tensor)
    if values is None:
        return known.get(tensor.name) if tensor is not None else None
    if values.dtype.kind not in "iu" or values.ndim > 1 or values.size > LONGEST:
        return None
    return _known([int(v) for v in values.reshape(-1)], scalar=values.ndim == 0)


def _follow(node: gs.Node, known: dict[str, Partial], shapes: dict[str, Shape]) -> Partial | None:
    if node.op == "Shape":
        shape = shapes.get(node.inputs[0].name)
        if shape is None:
            return None
        return _known(shape[slice(node.attrs.get("start", 0), node.attrs.get("end"))])
    first = _read(argument(node, 0), known)
    if first is None:
        return None
    scalar = bool(getattr(first, "scalar", False))
    match node.op:
        case "Identity" | "Cast":
            return first if node.attrs.get("to", 7) in (6, 7) else None
        case "Unsqueeze" if scalar:
            return _known(first)
        case "Size":
            return _known([len(first)], scalar=True)
        case "Squeeze" if len(first) == 1:
            return _known(first, scalar=True)
        case "Gather":
            return _gather(first, stored(argument(node, 1)))
        case "Slice":
            return _slice(node, first, known)
        case "Concat":
            parts = [_read(tensor, known) for tensor in node.inputs]
            if any(part is None or getattr(part, "scalar", False) for part in parts):
                return None
            return _known([v for part in parts if part is not None for v in part])
        case "Add" | "Sub" | "Mul" | "Div" | "Equal":
            second = _read(argument(node, 1), known)
            return None if second is None else _combine(_ARITHMETIC[node.op], first, second)
    return None


def _gather(values: Partial, at: np.ndarray | None) -> Partial | None:
    if at is None or at.ndim > 1 or getattr(values, "scalar", False):
        return None
    places = [int(i) for i in at.reshape(-1)]
    if any(not -len(values) <= i < len(values) for i in places):
        return None
    return _known([values[i] for i in places], scalar=at.ndim == 0)


def _slice(node: gs.Node, values: Partial, known: dict[str, Partial]) -> Partial | None:
    numbers_at: list[int] = []
    for index in (1, 2, 4):
        tensor = argument(node, index)
        bound: Partial | None = (1,) if index == 4 and tensor is None else _read(tensor, known)
        if bound is None or len(bound) != 1 or not isinstance(bound[0], int):
            return None
        numbers_at.append(bound[0])
    return _known(values[slice(*numbers_at)])


def _combine(compute: Callable[[int, int], int], a: Partial, b: Partial) -> Partial | None:
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        return None
    length = max(len(a), len(b))
    wide_a = a * length if len(a) == 1 else a
    wide_b = b * length if len(b) == 1 else b
    both_scalar = bool(getattr(a, "scalar", False) and getattr(b, "scalar", False))
    combined = [
        compute(x, y) if isinstance(x, int) and isinstance(y, int) else None
        for x, y in zip(wide_a, wide_b, strict=True)
    ]
    if any(isinstance(v, int) and abs(v) > LARGEST for v in combined):
        return None  # it overflows; what the network computes then is nobody's shape
    return _known(combined, scalar=both_scalar)
