"""Checks of stored tensors before their numbers are read: do type, shape and bytes agree?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from ..errors import UnsupportedGraphError

LARGEST_SIDE = 2**31 - 1
DEEPEST = 16  # graphs inside of graphs

# element type -> bits of one element in raw_data
BITS: dict[int, int] = {
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), 64),
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32), 32),
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16), 16),
    **dict.fromkeys((TensorProto.INT16, TensorProto.UINT16), 16),
    **dict.fromkeys((TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL), 8),
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4), 4),
}
_WORDS = (  # the field that holds a type's numbers when raw_data does not
    ("float_data", (TensorProto.FLOAT,)),
    ("double_data", (TensorProto.DOUBLE,)),
    ("int64_data", (TensorProto.INT64,)),
    ("uint64_data", (TensorProto.UINT32, TensorProto.UINT64)),
    ("string_data", (TensorProto.STRING,)),
)
_FIELDS: dict[int, str] = {
    **dict.fromkeys(BITS, "int32_data"),
    **{kind: field for field, kinds in _WORDS for kind in kinds},
}

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def element_type(dtype: object) -> int:
    """Return ONNX's number of an element type, however GraphSurgeon spells it; 0: unknown."""
    if dtype is None or isinstance(dtype, int):
        return int(dtype or 0)
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))  # type: ignore[call-overload]


def is_float(dtype: object) -> bool:
    """Say whether an element type is floating-point, bfloat16 included."""
    return element_type(dtype) in FLOATS


def check_tensor(tensor: TensorProto) -> None:
    """Raise UnsupportedGraphError, naming the tensor, unless type, shape and bytes agree."""
    label = tensor.name or "a constant"
    kind = tensor.data_type
    if kind not in _FIELDS:
        raise UnsupportedGraphError(
            f"{label}: {type_name(kind)} values; float, double, half, bfloat16, integer and "
            "bool tensors are supported"
        )
    dims = list(tensor.dims)
    if any(not 0 <= d <= LARGEST_SIDE for d in dims) or len(dims) > 32:
        raise UnsupportedGraphError(
            f"{label}: the shape {dims[:8]} of a stored tensor; the file is damaged"
        )
    size = math.prod(dims)
    if tensor.HasField("segment"):
        raise UnsupportedGraphError(f"{label}: a piece (segment) of a tensor; whole ones are read")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise UnsupportedGraphError(
            f"{label}: its values are in another file, which was not read; "
            "load the model from its file"
        )
    if tensor.HasField("raw_data") and kind != TensorProto.STRING:  # texts have a field alone
        present, needed, unit = len(tensor.raw_data), -(-size * BITS[kind] // 8), "bytes"
    else:
        present, unit = len(getattr(tensor, _FIELDS[kind])), "values"
        needed = -(-size // 2) if BITS.get(kind) == 4 else size
    if present != needed:
        raise UnsupportedGraphError(
            f"{label}: {present} {unit} are stored for the shape {dims}, which takes {needed}; "
            "the file is damaged or truncated"
        )
    for text in tensor.string_data:
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnsupportedGraphError(
                f"{label}: a text that is not UTF-8; the file is damaged"
            ) from error


def stored_tensors(graph: onnx.GraphProto, depth: int = 0) -> Iterator[TensorProto]:
    """Yield initializers and tensors in attributes, those of inner graphs as well.

    Raises UnsupportedGraphError for graphs nested too deep.
    """
    if depth > DEEPEST:
        raise UnsupportedGraphError(f"graphs are nested more than {DEEPEST} deep; they cannot run")
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from _in_attribute(attribute, depth)


def _in_attribute(attribute: AttributeProto, depth: int) -> Iterator[TensorProto]:
    if attribute.type == AttributeProto.TENSOR:
        yield attribute.t
    elif attribute.type == AttributeProto.TENSORS:
        yield from attribute.tensors
    elif attribute.type == AttributeProto.GRAPH:
        yield from stored_tensors(attribute.g, depth + 1)
    elif attribute.type == AttributeProto.GRAPHS:
        for inner in attribute.graphs:
            yield from stored_tensors(inner, depth + 1)


def type_name(kind: int) -> str:
    """Return an element type's name, or its number if ONNX has none for it."""
    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(kind) if kind in known else f"type {kind}"


def weights_amiss(graph: onnx.GraphProto, folder: Path) -> str | None:
    """Say which file of weights in a model's folder is gone or too short; None if none is."""
    for tensor in graph.initializer:
        told = {entry.key: entry.value for entry in tensor.external_data}
        name = told.get("location", "")
        numbers = [told.get("offset") or "0", told.get("length") or "0"]
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            continue
        if not all(number.isdecimal() for number in numbers):
            continue
        beside, least = folder / name, sum(map(int, numbers))
        if not beside.is_file():
            return f"its weights, {name}, are not beside it"
        if beside.stat().st_size < least:
            return (
                f"its weights, {name}, are {beside.stat().st_size} bytes; wanted at least {least}"
            )
    return None
