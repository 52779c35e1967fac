"""Element-wise arithmetic, comparisons and logic, on tensors and on the sizes in shapes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..building.attributes import dtype_of, shortest
from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Constant, Host, Node, Value
from ..runtime import elements

# on tensors and Python numbers alike
_BOTH: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
}
_COMPARE: dict[str, Callable[..., Any]] = {
    "Equal": operator.eq,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
}


def as_operand(builder: Builder, node: Node, index: int) -> Any:
    """Return an operand; a float scalar as the Python number it was written as.

    A float32 scalar of 0.1 is the double 0.1, so that the network is the same one in float64.
    """
    value = node.inputs[index]
    if isinstance(value, Host):
        return builder.tensor(value)
    if not isinstance(value, Constant) or value.trainable or builder.folding:
        return value
    other_rank = builder.rank(node, 1 - index)
    fits = value.tensor.ndim == 0 or (
        value.tensor.numel() == 1 and other_rank is not None and other_rank >= value.tensor.ndim
    )
    if not fits or value.tensor.dtype not in (torch.float32, torch.float64, torch.int64):
        return value
    number = value.tensor.item()
    return shortest(number) if value.tensor.dtype == torch.float32 else number


def on_host(builder: Builder, node: Node) -> list[tuple[Any, ...]] | None:
    """Return the operands element by element when one is a shape and all are short vectors."""
    if not any(isinstance(v, Host) for v in node.inputs):
        return None
    columns: list[list[Any]] = []
    for value in node.inputs:
        if isinstance(value, Host):
            columns.append(list(value.items))
        elif isinstance(value, Constant) and value.tensor.ndim <= 1:
            columns.append(value.tensor.reshape(-1).tolist())
        else:
            return None
    length = max(len(c) for c in columns)
    if any(len(c) not in (1, length) for c in columns):
        return None
    wide = [c * length if len(c) == 1 else c for c in columns]
    return list(zip(*wide))


def host_result(node: Node, items: list[Any], dtype: torch.dtype) -> Any:
    """Return numbers as a value: a constant when none is a node."""
    scalar = all(
        v.scalar if isinstance(v, Host) else v.tensor.ndim == 0  # type: ignore[union-attr]
        for v in node.inputs
        if v is not None
    )
    if any(isinstance(i, fx.Node) for i in items):
        return Host(tuple(items), scalar, dtype)
    return torch.tensor(items[0] if scalar else items, dtype=dtype)


def _elementwise(op: str, function: Callable[..., Any], result: torch.dtype | None = None) -> None:
    @converter(op, 7)
    def convert(builder: Builder, node: Node) -> Any:
        rows = on_host(builder, node)
        if rows is not None:
            dtype = result or _host_dtype(node)
            return host_result(node, [builder.call(function, *row) for row in rows], dtype)
        left, right = as_operand(builder, node, 0), as_operand(builder, node, 1)
        return builder.call(function, left, right)

    @converter(op, 1)
    def convert_with_axis(builder: Builder, node: Node) -> Any:
        return builder.call(function, node.inputs[0], _aligned(builder, node))


def _aligned(builder: Builder, node: Node) -> Any:
    """Return the second operand for the broadcasting of versions before 7 (axis from the left)."""
    second = node.inputs[1]
    axis, rank, own = node.get("axis"), builder.rank(node), builder.rank(node, 1)
    if not node.get("broadcast", 0) or axis is None or rank is None or own is None:
        return second
    trailing = rank - axis % rank - own
    return builder.call(elements.append_axes, second, trailing) if trailing > 0 else second


def _host_dtype(node: Node) -> torch.dtype:
    kinds = [v.dtype if isinstance(v, Host) else v.tensor.dtype for v in node.inputs]  # type: ignore[union-attr]
    return kinds[0]


for _op, _function in _BOTH.items():
    _elementwise(_op, _function)
for _op, _function in _COMPARE.items():
    _elementwise(_op, _function, torch.bool)


@converter("Div", 1)
def divide_with_axis(builder: Builder, node: Node) -> Any:
    """Div before version 7."""
    return builder.call(elements.divide, node.inputs[0], _aligned(builder, node))


@converter("Div", 7)
def divide(builder: Builder, node: Node) -> Any:
    """Div: integers are truncated towards zero."""
    rows = on_host(builder, node)
    if rows is not None:
        dtype = _host_dtype(node)
        function = operator.truediv if dtype.is_floating_point else elements.divide_numbers
        return host_result(node, [builder.call(function, *row) for row in rows], dtype)
    left, right = as_operand(builder, node, 0), as_operand(builder, node, 1)
    dtype_known = builder.dtype(node)
    if dtype_known is not None and dtype_known.is_floating_point:
        return builder.call(operator.truediv, left, right)
    return builder.call(elements.divide, left, right)


@converter("Pow", 1)
def power(builder: Builder, node: Node) -> Any:
    """Pow; the result has the base's type."""
    base = node.inputs[0]
    exponent = as_operand(builder, node, 1)
    known = builder.dtype(node)
    if isinstance(exponent, float | int) and known is not None and known.is_floating_point:
        return builder.call(torch.pow, base, exponent)
    return builder.call(elements.power, base, node.inputs[1])


@converter("Mod", 10)
def modulo(builder: Builder, node: Node) -> Any:
    """Mod: the sign of the divisor, or of the dividend with fmod."""
    rows = on_host(builder, node)
    if rows is not None:
        return host_result(node, [builder.call(operator.mod, *r) for r in rows], _host_dtype(node))
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return builder.call(function, node.inputs[0], node.inputs[1])


def _variadic(op: str, function: Callable[..., Any]) -> None:
    @converter(op, 1)
    def convert(builder: Builder, node: Node) -> Any:
        rows = on_host(builder, node)
        if rows is not None and op in ("Min", "Max"):
            pick = min if op == "Min" else max
            return host_result(node, [builder.call(pick, *row) for row in rows], _host_dtype(node))
        values: list[Value] = [v for v in node.inputs if v is not None]
        return functools.reduce(lambda a, b: builder.call(function, a, b), values)


for _op, _function in [
    ("Sum", operator.add),
    ("Min", torch.minimum),
    ("Max", torch.maximum),
]:
    _variadic(_op, _function)


@converter("Mean", 1)
def mean(builder: Builder, node: Node) -> Any:
    """Mean of its inputs, element by element."""
    total = functools.reduce(lambda a, b: builder.call(operator.add, a, b), node.inputs)
    return builder.call(operator.truediv, total, len(node.inputs))


@converter("And", 1)
def logical_and(builder: Builder, node: Node) -> Any:
    """And of booleans."""
    return builder.call(torch.logical_and, node.inputs[0], _aligned(builder, node))


@converter("Or", 1)
def logical_or(builder: Builder, node: Node) -> Any:
    """Or of booleans."""
    return builder.call(torch.logical_or, node.inputs[0], _aligned(builder, node))


@converter("Xor", 1)
def logical_xor(builder: Builder, node: Node) -> Any:
    """Xor of booleans."""
    return builder.call(torch.logical_xor, node.inputs[0], _aligned(builder, node))


@converter("Not", 1)
def logical_not(builder: Builder, node: Node) -> Any:
    """Not of a boolean."""
    return builder.call(torch.logical_not, node.inputs[0])


def _bitwise(op: str, function: Callable[..., Any]) -> None:
    @converter(op, 18)
    def convert(builder: Builder, node: Node) -> Any:
        return builder.call(function, *node.inputs)


_BITWISE: dict[str, Callable[..., Any]] = {
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "BitwiseNot": torch.bitwise_not,
}
for _name, _of_bits in _BITWISE.items():
    _bitwise(_name, _of_bits)


@converter("Where", 9)
def where(builder: Builder, node: Node) -> Any:
    """Where: the second input where the condition holds, else the third."""
    rows = on_host(builder, node)
    if rows is not None and isinstance(node.inputs[0], Constant):
        values = [v for v in node.inputs[1:] if v is not None]
        picked = [row[1] if row[0] else row[2] for row in rows]
        kind = values[0].dtype if isinstance(values[0], Host) else torch.int64
        return host_result(node, picked, kind)
    if rows is not None:
        values = [v for v in node.inputs[1:] if v is not None]
        kind = values[0].dtype if isinstance(values[0], Host) else torch.int64
        return host_result(node, [builder.call(elements.choose, *row) for row in rows], kind)
    return builder.call(torch.where, *(builder.tensor(v) for v in node.inputs if v is not None))


@converter("Cast", 1)
def cast_by_name(builder: Builder, node: Node) -> Any:
    """Cast before version 6, whose target is spelled out."""
    from onnx import TensorProto

    return _cast(builder, node, dtype_of(TensorProto.DataType.Value(node.get("to")), node.label))


@converter("Cast", 6)
def cast(builder: Builder, node: Node) -> Any:
    """Cast to an element type."""
    return _cast(builder, node, dtype_of(node.get("to"), node.label))


@converter("CastLike", 15)
def cast_like(builder: Builder, node: Node) -> Any:
    """Cast to the element type of the second input."""
    known = builder.dtype(node, 1)
    if known is not None:
        return _cast(builder, node, known)
    return builder.call(elements.cast_like, node.inputs[0], node.inputs[1])


def _cast(builder: Builder, node: Node, dtype: torch.dtype) -> Any:
    value = node.inputs[0]
    if isinstance(value, Host):
        if value.dtype == dtype:
            return value
        turn: Callable[..., Any] = float if dtype.is_floating_point else int
        if dtype == torch.bool:
            turn = bool
        return Host(tuple(builder.call(turn, i) for i in value.items), value.scalar, dtype)
    if not isinstance(value, Constant) and builder.dtype(node) == dtype:
        return value
    return builder.call(elements.cast, value, dtype)


def _unary(op: str, function: Callable[..., Any], on_numbers: Callable[..., Any] | None) -> None:
    @converter(op, 1)
    def convert(builder: Builder, node: Node) -> Any:
        value = node.inputs[0]
        if isinstance(value, Host) and on_numbers is not None:
            items = tuple(builder.call(on_numbers, i) for i in value.items)
            return Host(items, value.scalar, value.dtype)
        return builder.call(function, builder.tensor(value))  # type: ignore[arg-type]


_UNARY: list[tuple[str, Callable[..., Any], Callable[..., Any] | None]] = [
    ("Neg", torch.neg, operator.neg),
    ("Abs", torch.abs, abs),
    ("Floor", torch.floor, elements.floor_number),
    ("Ceil", torch.ceil, elements.ceil_number),
    ("Round", torch.round, None),
    ("Sqrt", torch.sqrt, None),
    ("Exp", torch.exp, None),
    ("Log", torch.log, None),
    ("Sign", torch.sign, None),
    ("Reciprocal", torch.reciprocal, None),
    ("Erf", torch.erf, None),
    ("Sin", torch.sin, None),
    ("Cos", torch.cos, None),
    ("Tan", torch.tan, None),
    ("Asin", torch.asin, None),
    ("Acos", torch.acos, None),
    ("Atan", torch.atan, None),
    ("Sinh", torch.sinh, None),
    ("Cosh", torch.cosh, None),
    ("Asinh", torch.asinh, None),
    ("Acosh", torch.acosh, None),
    ("Atanh", torch.atanh, None),
    ("IsNaN", torch.isnan, None),
]
for _op, _function, _on_numbers in _UNARY:
    _unary(_op, _function, _on_numbers)


@converter("IsInf", 10)
def is_infinite(builder: Builder, node: Node) -> Any:
    """IsInf, of either sign as the attributes say."""
    return builder.call(
        elements.is_infinite,
        node.inputs[0],
        bool(node.get("detect_negative", 1)),
        bool(node.get("detect_positive", 1)),
    )
