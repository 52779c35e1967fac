"""Evaluate operators of shape arithmetic on partially known tensors, by operator set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .values import LONGEST, Element, Value, scalar, value_of, vector

Shape = tuple[int | str | None, ...]
Results = Sequence[Value | None]


@dataclasses.dataclass(frozen=True)
class Call:
    """One node with what is known of its inputs; an omitted input is None twice."""

    op: str
    opset: int
    attrs: Mapping[str, Any]
    values: Sequence[Value | None]
    shapes: Sequence[Shape | None]
    outputs: int

    def value(self, index: int) -> Value | None:
        """Return what is known of an input."""
        return self.values[index] if index < len(self.values) else None

    def needed(self, index: int) -> Value:
        """Return what is known of an input; raises UnknownError."""
        value = self.value(index)
        if value is None:
            raise UnknownError
        return value

    def numbers(self, index: int, attribute: str) -> list[int] | None:
        """Return integers that an older operator set has in an attribute; None: left out.

        Raises UnknownError where they are computed and not known.
        """
        if attribute in self.attrs:
            return [int(v) for v in self.attrs[attribute]]
        if index >= len(self.values) or (self.values[index] is None and self.shapes[index] is None):
            return None
        values = self.needed(index).numbers()
        if values is None:
            raise UnknownError
        return [int(v) for v in values.reshape(-1)]


class UnknownError(Exception):
    """What the node computes cannot be known; never leaves this module."""


def evaluate(call: Call) -> Results:
    """Return what is known of a node's outputs; None where nothing is."""
    rule = _RULES.get(call.op)
    if rule is None:
        return [None] * call.outputs
    try:
        with np.errstate(all="ignore"):
            result = rule(call)
    except (
        UnknownError,
        ValueError,
        IndexError,
        TypeError,
        OverflowError,
        np.exceptions.AxisError,
    ):
        return [None] * call.outputs  # such a node does not run; onnxruntime says so better
    results = [result] if isinstance(result, Value) else list(result)
    return [v if v is not None and v.elements.size <= LONGEST else None for v in results]


def _shape(call: Call) -> Value:
    shape = call.shapes[0]
    if shape is None:
        raise UnknownError
    return vector(shape[slice(call.attrs.get("start", 0), call.attrs.get("end"))])


def _size(call: Call) -> Value:
    shape = call.shapes[0]
    numbers = [d for d in shape or () if isinstance(d, int)]
    if shape is None or len(numbers) != len(shape):
        raise UnknownError
    return scalar(int(np.prod(numbers, dtype=object)) if numbers else 1)


def _constant(call: Call) -> Value:
    for name, array in call.attrs.items():
        kind = np.float32 if name.startswith("value_float") else np.int64
        constant = value_of(np.asarray(array, None if name == "value" else kind))
        if constant is not None:
            return constant
    raise UnknownError


def _identity(call: Call) -> Value:
    return call.needed(0)


def _cast(call: Call) -> Value:
    value = call.needed(0)
    to = call.attrs["to"]
    if isinstance(to, bytes | str):  # before operator set 6
        to = onnx.TensorProto.DataType.Value(to.decode() if isinstance(to, bytes) else to)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(int(to)))
    if dtype.kind not in "iubf":
        raise UnknownError

    def one(element: Element) -> Element:
        if element is None:
            return None
        if isinstance(element, str):
            return element if dtype.kind != "b" else None
        result: Element = np.array(element, value.dtype).astype(dtype).item()
        return result

    return _each(one, [value], dtype)


def _squeeze(call: Call) -> Value:
    value = call.needed(0)
    axes = call.numbers(1, "axes")
    return _moved(value, np.squeeze(value.elements, None if axes is None else tuple(axes)))


def _unsqueeze(call: Call) -> Value:
    value = call.needed(0)
    axes = call.numbers(1, "axes") or []
    return _moved(value, np.expand_dims(value.elements, tuple(axes)))


def _gather(call: Call) -> Value:
    value, at = call.needed(0), call.needed(1).numbers()
    if at is None:
        raise UnknownError
    axis = int(call.attrs.get("axis", 0))
    return _moved(value, np.take(value.elements, at.astype(np.int64), axis))


def _slice(call: Call) -> Value:
    value = call.needed(0)
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    if starts is None or ends is None:
        raise UnknownError
    axes = call.numbers(3, "axes")
    steps = call.numbers(4, "steps")
    index = [slice(None)] * value.elements.ndim
    for place, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else steps[place]
        stop: int | None = ends[place]
        if step < 0 and ends[place] < -value.elements.shape[axis]:
            stop = None
        index[axis] = slice(starts[place], stop, step)
    return _moved(value, value.elements[tuple(index)])


def _concat(call: Call) -> Value:
    values = [call.needed(index) for index in range(len(call.values))]
    axis = int(call.attrs.get("axis", 1 if call.opset < 4 else 0))
    return _moved(values[0], np.concatenate([v.elements for v in values], axis))


def _split(call: Call) -> Results:
    value = call.needed(0)
    axis = int(call.attrs.get("axis", 0))
    sizes = call.numbers(1, "split")
    length = value.elements.shape[axis]
    if sizes is None:
        step = -(-length // call.outputs)
        sizes = [min(step, length - place * step) for place in range(call.outputs)]
    cuts = [int(c) for c in np.cumsum(sizes)[:-1]]
    return [_moved(value, part) for part in np.split(value.elements, cuts, axis)]


def _reshape(call: Call) -> Value:
    value = call.needed(0)
    target = call.numbers(1, "shape")
    if target is None:
        raise UnknownError
    if not call.attrs.get("allowzero", 0):
        target = [value.elements.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return _moved(value, value.elements.reshape(target))


def _transpose(call: Call) -> Value:
    value = call.needed(0)
    return _moved(value, np.transpose(value.elements, call.attrs.get("perm")))


def _flatten(call: Call) -> Value:
    value = call.needed(0)
    axis = int(call.attrs.get("axis", 1))
    rows = int(np.prod(value.elements.shape[: axis % (value.elements.ndim + 1)]))
    return _moved(value, value.elements.reshape(rows, -1))


def _expand(call: Call) -> Value:
    value = call.needed(0)
    target = call.numbers(1, "shape") or []
    wide = np.broadcast_shapes(value.shape, tuple(_held(target)))
    return _moved(value, np.broadcast_to(value.elements, wide))


def _tile(call: Call) -> Value:
    value = call.needed(0)
    times = call.numbers(1, "repeats") or []
    _held([int(d) * t for d, t in zip(value.shape, times, strict=True)])
    return _moved(value, np.tile(value.elements, times))


def _constant_of_shape(call: Call) -> Value:
    target = call.numbers(0, "")
    if target is None:
        raise UnknownError
    fill = np.asarray(call.attrs.get("value", np.zeros(1, np.float32))).reshape(-1)
    filled = value_of(np.full(_held(target), fill[0], fill.dtype))
    if filled is None:
        raise UnknownError
    return filled


def _range(call: Call) -> Value:
    start, limit, step = (call.needed(i).numbers() for i in range(3))
    if start is None or limit is None or step is None:
        raise UnknownError
    _held([max(0, int(np.ceil((limit - start) / step)))])
    numbers = value_of(np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype))
    if numbers is None:
        raise UnknownError
    return numbers


def _where(call: Call) -> Value:
    chosen, yes, no = (call.needed(index) for index in range(3))

    def one(condition: Element, a: Element, b: Element) -> Element:
        if condition is None or isinstance(condition, str):
            return a if a == b else None
        return a if condition else b

    return _each(one, [chosen, yes, no], yes.dtype)


def _held(shape: Sequence[int]) -> Sequence[int]:
    """Return ``shape`` unless it is too long to be followed; raises UnknownError."""
    if (
        any(d < 0 for d in shape)
        or int(np.prod(shape, dtype=object) if len(shape) else 1) > LONGEST
    ):
        raise UnknownError
    return shape


def _moved(value: Value, elements: np.ndarray) -> Value:
    moved = np.empty(np.shape(elements), object)
    moved[...] = elements
    return Value(moved, value.dtype)


def _each(compute: Callable[..., Element], values: Sequence[Value], dtype: np.dtype[Any]) -> Value:
    """Apply ``compute`` elementwise."""
    arrays = np.broadcast_arrays(*(v.elements for v in values))
    if arrays[0].size > LONGEST:
        raise UnknownError
    results = np.empty(arrays[0].shape, object)
    flat = results.reshape(-1)
    for place, elements in enumerate(zip(*(a.reshape(-1) for a in arrays), strict=True)):
        flat[place] = compute(*elements)
    return Value(results, dtype)


# ------------------------------------------------------------------ arithmetic


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not np.all(b):
        raise UnknownError  # a division by zero
    quotient = np.abs(a) // np.abs(b)  # integers are cut, not floored
    return np.asarray(np.where((a < 0) != (b < 0), -quotient, quotient))


def _mod(call: Call) -> Value:
    compute = np.fmod if call.attrs.get("fmod", 0) else np.mod
    return _computed(call, compute)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Min": np.minimum,
    "Max": np.maximum,
    "Pow": np.power,
    "Neg": np.negative,
    "Abs": np.abs,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Sign": np.sign,
}
_TRUTHS: dict[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
}


def _elementwise(call: Call) -> Value:
    return _computed(call, {**_ARITHMETIC, **_TRUTHS}[call.op])


def _computed(call: Call, compute: Callable[..., Any]) -> Value:
    values = [call.needed(index) for index in range(len(call.values))]
    result = values[0]
    dtype = np.dtype(bool) if call.op in _TRUTHS else values[0].dtype

    def apply(one: Value, *others: Value) -> Value:
        def element(*known: Element) -> Element:
            if any(e is None or isinstance(e, str) for e in known):
                return _with_symbols(call.op, known)
            typed = [np.array(e, v.dtype) for e, v in zip(known, (one, *others), strict=True)]
            result: Element = np.asarray(compute(*typed)).astype(dtype).item()
            return result

        return _each(element, [one, *others], dtype)

    if len(values) == 1:
        return apply(result)
    for other in values[1:]:  # Min and Max take any number
        result = apply(result, other)
    return result


def _with_symbols(op: str, known: Sequence[Element]) -> Element:
    """Return an operator's result for elements of which one is not a number; None: unknown."""
    a, b = known[0], known[1] if len(known) > 1 else None
    if len(known) == 1:
        return a if op in ("Floor", "Ceil", "Round", "Abs") else None
    if isinstance(a, str) and a == b:  # two equal symbols
        same: dict[str, Element] = {"Sub": 0, "Div": 1, "Equal": True, "Min": a, "Max": a}
        return same.get(op)
    if op == "Mul" and 0 in (a, b) and not isinstance(a, bool):
        return 0
    for one, other, swapped in ((a, b, False), (b, a, True)):
        if not isinstance(one, str) or other is None or isinstance(other, str):
            continue
        match op:
            case "Add" if other == 0:
                return one
            case "Mul" if other == 1:
                return one
            case "Sub" if other == 0 and not swapped:
                return one
            case "Div" | "Pow" if other == 1 and not swapped:
                return one
            case "Max" if other <= 0:
                return one
            case "Equal" if other < 0:  # a size is never negative
                return False
    return None


_REDUCTIONS: dict[str, np.ufunc] = {
    "ReduceProd": np.multiply,
    "ReduceSum": np.add,
    "ReduceMin": np.minimum,
    "ReduceMax": np.maximum,
}


def _reduced(call: Call) -> Value:
    value = call.needed(0)
    axes = call.numbers(1, "axes")
    if axes is not None and not axes:
        axes = None
    if axes is None and call.attrs.get("noop_with_empty_axes", 0):
        return value
    keep = bool(call.attrs.get("keepdims", 1))
    over = tuple(range(value.elements.ndim)) if axes is None else tuple(axes)
    numbers = value.numbers()
    if numbers is None:
        raise UnknownError
    whole = _REDUCTIONS[call.op].reduce(numbers, axis=over, keepdims=keep)
    reduced = value_of(np.asarray(whole, value.dtype))
    if reduced is None:
        raise UnknownError
    return reduced


_RULES: dict[str, Callable[[Call], Value | Results]] = {
    "Shape": _shape,
    "Size": _size,
    "Constant": _constant,
    "Identity": _identity,
    "Cast": _cast,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Where": _where,
    "Mod": _mod,
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys((*_ARITHMETIC, *_TRUTHS), _elementwise),
}
FOLLOWED = frozenset(_RULES)
"""Operators that are followed."""
