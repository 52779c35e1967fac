"""Constants, and tensors made from a shape."""

from __future__ import annotations

import math
from typing import Any

import onnx
import torch

from fnac.passes.errors import UnsupportedGraphError

from ..building.attributes import dtype_of, shortest, tensor_of
from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Host, Node
from ..runtime import elements, indexing, layout, quantized

LARGEST = 2**28  # elements of a constant made from a shape: more is a damaged file


@converter("Constant", 1)
def constant(builder: Builder, node: Node) -> Any:
    """Constant of any kind of attribute but text and sparse tensors."""
    value = node.get("value")
    if isinstance(value, onnx.TensorProto):
        return tensor_of(value, node.label)
    for attribute, dtype in [
        ("value_float", torch.float32),
        ("value_floats", torch.float32),
        ("value_int", torch.int64),
        ("value_ints", torch.int64),
    ]:
        if attribute in node.attributes:
            return torch.tensor(node.get(attribute), dtype=dtype)
    raise UnsupportedGraphError(
        f"{node.label}: a constant given as {', '.join(node.attributes) or 'nothing'}; "
        "wanted a dense tensor or numbers"
    )


@converter("ConstantOfShape", 9)
def constant_of_shape(builder: Builder, node: Node) -> Any:
    """ConstantOfShape: one number everywhere."""
    proto = node.get("value")
    filler = tensor_of(proto, node.label) if proto is not None else torch.zeros(1)
    shape = builder.numbers(node.inputs[0])
    if isinstance(shape, list) and not any(isinstance(n, torch.fx.Node) for n in shape):
        if math.prod(shape) > LARGEST:
            raise UnsupportedGraphError(
                f"{node.label}: a constant of {math.prod(shape)} elements; wanted at most "
                f"{LARGEST}; the file may be damaged"
            )
        return torch.full(shape, filler.item(), dtype=filler.dtype)
    return builder.call(layout.full, shape, filler.item(), filler.dtype, builder.reference())


@converter("Range", 11)
def arange(builder: Builder, node: Node) -> Any:
    """Range from start to limit by delta."""
    start, limit, delta = node.inputs
    if any(isinstance(v, Host) for v in node.inputs):
        numbers = [builder.numbers(v) for v in (start, limit, delta)]
        if all(isinstance(n, list) for n in numbers):
            first, last, step = (n[0] for n in numbers if isinstance(n, list))
            return builder.call(layout.arange, first, last, step, builder.reference())
    return builder.call(layout.arange_of_tensors, start, limit, delta)


@converter("Identity", 1)
def identity(builder: Builder, node: Node) -> Any:
    """Identity: the value itself."""
    return node.inputs[0]


@converter("Dropout", 1, 7)
def dropout_by_attribute(builder: Builder, node: Node) -> Any:
    """Dropout before version 12: active in train mode."""
    return _dropout(builder, node, node.get("ratio", 0.5))


@converter("Dropout", 12)
def dropout(builder: Builder, node: Node) -> Any:
    """Dropout: active in train mode, whatever the file's training_mode says."""
    ratio = node.input(1)
    known = builder.static(ratio)
    if ratio is not None and known is None:
        y = builder.call(elements.identity, node.inputs[0], ratio)
        return (y, builder.call(elements.ones_like, y)) if node.wants(1) else y
    return _dropout(builder, node, 0.5 if known is None else shortest(float(known)))


def _dropout(builder: Builder, node: Node, ratio: float) -> Any:
    x = node.inputs[0]
    assert x is not None
    y = builder.module(node, torch.nn.Dropout(ratio), [x])
    if not node.wants(1):
        return y
    return y, builder.call(elements.ones_like, x)


@converter("EyeLike", 9)
def eye_like(builder: Builder, node: Node) -> Any:
    """EyeLike: ones on a diagonal."""
    dtype = dtype_of(node.get("dtype"), node.label) if node.get("dtype") else None
    return builder.call(layout.eye_like, node.inputs[0], node.get("k", 0), dtype)


@converter("Trilu", 14)
def triangle(builder: Builder, node: Node) -> Any:
    """Trilu: the part above a diagonal, or below it."""
    diagonal = builder.known(node, 1, "the diagonal") or [0]
    function = torch.triu if node.get("upper", 1) else torch.tril
    return builder.call(function, node.inputs[0], diagonal[0])


@converter("OneHot", 9)
def one_hot(builder: Builder, node: Node) -> Any:
    """OneHot: one value where an index points to, another one elsewhere."""
    depth = builder.known(node, 1, "the number of classes") or [0]
    return builder.call(
        indexing.one_hot, node.inputs[0], int(depth[0]), node.inputs[2], node.get("axis", -1)
    )


@converter("DequantizeLinear", 10)
def dequantize(builder: Builder, node: Node) -> Any:
    """DequantizeLinear per tensor, per axis or per block; on stored weights it gives a weight."""
    x, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
    return builder.call(
        quantized.dequantize, x, scale, zero, node.get("axis", 1), node.get("block_size", 0)
    )


@converter("QuantizeLinear", 10)
def quantize(builder: Builder, node: Node) -> Any:
    """QuantizeLinear per tensor, per axis or per block."""
    x, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
    kind = node.get("output_dtype", 0)
    dtype = dtype_of(kind, node.label) if kind else torch.uint8
    block = node.get("block_size", 0)
    return builder.call(quantized.quantize, x, scale, zero, node.get("axis", 1), dtype, block)
