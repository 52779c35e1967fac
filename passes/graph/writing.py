"""The bytes of a network, weight by weight, so that writing needs no second copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import Message
from onnx_graphsurgeon.exporters.onnx_exporter import dtype_to_onnx
from onnx_graphsurgeon.ir.tensor import LazyValues

LARGE = 4096  # bytes; what is smaller may be copied
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # numbers of the fields in onnx.proto

Piece = bytes | memoryview


def empty_weights(graph: gs.Graph) -> dict[str, gs.Constant]:
    """Empty the large stored tensors of ``graph``; return the full ones by name.

    What :func:`gs.export_onnx` makes of the graph then has their names, types and shapes alone.
    """
    full: dict[str, gs.Constant] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            if not isinstance(tensor, gs.Constant) or tensor.name in full or not _is_large(tensor):
                continue
            full[tensor.name] = gs.Constant(tensor.name, tensor._values, tensor.data_location)
            empty = onnx.TensorProto(
                name=tensor.name, data_type=dtype_to_onnx(tensor.dtype), dims=tensor.shape
            )
            tensor._values = LazyValues(empty)
    return full


def serialized(model: onnx.ModelProto, weights: Mapping[str, gs.Constant]) -> Iterator[Piece]:
    """Yield the bytes of ``model`` with the values of ``weights`` in place.

    Together they are what ``SerializeToString`` gives for the model with its weights: protobuf
    writes fields by their numbers.
    """
    body = model.graph
    tensors: list[list[Piece]] = []
    for tensor in body.initializer:
        full = weights.get(tensor.name)
        tensors.append([tensor.SerializeToString()] if full is None else list(_tensor(full)))
    front = _fields(body, lambda number: number < INITIALIZER)
    back = _fields(body, lambda number: number > INITIALIZER)
    sizes = [sum(map(_size, parts)) for parts in tensors]
    heads = [_head(INITIALIZER, size) for size in sizes]
    whole = len(front) + sum(sizes) + sum(map(len, heads)) + len(back)
    yield _fields(model, lambda number: number < GRAPH)
    yield _head(GRAPH, whole)
    yield front
    for head, parts in zip(heads, tensors, strict=True):
        yield head
        yield from parts
    yield back
    yield _fields(model, lambda number: number > GRAPH)


def _is_large(tensor: gs.Constant) -> bool:
    """Say whether a tensor is large, and is written as it lies there."""
    values = tensor._values
    kind = isinstance(values, np.ndarray) or type(values) is LazyValues
    return kind and tensor._export_dtype is None and values.nbytes >= LARGE


def _tensor(constant: gs.Constant) -> Iterator[Piece]:
    values = constant._values
    if not isinstance(values, np.ndarray):  # as it was in the file, never looked at
        values.tensor.name = constant.name
        yield values.tensor.SerializeToString()
        return
    kind = dtype_to_onnx(values.dtype)
    yield onnx.TensorProto(
        name=constant.name, data_type=kind, dims=values.shape
    ).SerializeToString()
    yield _head(RAW_DATA, values.nbytes)
    yield np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    if constant.data_location is not None:
        place = onnx.TensorProto()
        place.data_location = constant.data_location  # type: ignore[assignment]  # a number
        yield place.SerializeToString()


def _fields(message: Message, is_chosen: Callable[[int], bool]) -> bytes:
    part = type(message)()
    part.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if not is_chosen(field.number):
            part.ClearField(field.name)
    return bytes(part.SerializeToString())


def _head(number: int, length: int) -> bytes:
    """Return the header of a field of ``length`` bytes."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _size(piece: Piece) -> int:
    return len(piece)
