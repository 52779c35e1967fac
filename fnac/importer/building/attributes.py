"""Attributes and tensors of ONNX as Python values and torch tensors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto, numpy_helper

from fnac.passes.errors import UnsupportedGraphError

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
}


def shortest(value: float) -> float:
    """Return the double that a float32 was written as: 1e-5, not 9.99999975e-6.

    The shortest decimal that reads back as the same float32, as a double. Training with an
    epsilon of 9.99999975e-6 drifts away from native torch.
    """
    return float(str(np.float32(value)))


def complement(value: float) -> float:
    """Return 1 - value in decimal arithmetic: 0.1 for 0.9, not 0.09999999999999998."""
    return float(Decimal(1) - Decimal(repr(value)))


def decode(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node; floats by shortest decimal, text as str."""
    return {attribute.name: _decode(attribute) for attribute in node.attribute}


def _decode(attribute: AttributeProto) -> Any:
    kind = attribute.type
    if kind == AttributeProto.FLOAT:
        return shortest(attribute.f)
    if kind == AttributeProto.FLOATS:
        return [shortest(f) for f in attribute.floats]
    if kind == AttributeProto.INT:
        return attribute.i
    if kind == AttributeProto.INTS:
        return list(attribute.ints)
    if kind == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == AttributeProto.STRINGS:
        return [s.decode("utf-8", "replace") for s in attribute.strings]
    return onnx.helper.get_attribute_value(attribute)


def dtype_of(elem_type: int, where: str) -> torch.dtype:
    """Return torch's type of an ONNX element type.

    Raises UnsupportedGraphError for a type that torch lacks.
    """
    if elem_type not in DTYPES:
        raise UnsupportedGraphError(
            f"{where}: element type {TensorProto.DataType.Name(elem_type)}; "
            "float, double, half, bfloat16, integer and bool tensors are supported"
        )
    return DTYPES[elem_type]


def tensor_of(proto: TensorProto, where: str = "") -> torch.Tensor:
    """Return a new torch tensor with an ONNX tensor's values."""
    dtype = dtype_of(proto.data_type, where or proto.name)
    array = numpy_helper.to_array(proto)
    if dtype == torch.bfloat16:
        return torch.from_numpy(np.asarray(array, dtype=np.float32).copy()).to(dtype)
    return torch.from_numpy(np.array(array, copy=True, order="C"))


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor's values as a numpy array (bfloat16 as onnx spells it)."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        target = onnx.helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
        return tensor.to(torch.float32).numpy().astype(target)
    return tensor.contiguous().numpy()
