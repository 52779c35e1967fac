"""One view of stored numbers: those of Constant nodes are initializers from the door on.

Paddle2ONNX writes all weights as Constant nodes, torch the numbers that stood in the program. Who
counts, folds, finds or trains weights has to look in one place.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Greater", "Less", "Where")

MAPS = 3
"""Rank from which zeros in a Concat are padding: beside channels of maps."""

_NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def with_stored_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with its Constant nodes as initializers; itself if it has none.

    What stays a node: an output of the network, text, and one float of rank 1 or more that only
    scales or shifts. Stored, such a float is taken for a learned factor; here it is the 3 of a
    hard-swish (lift-constants stores it as a scalar, which is never learned).
    """
    if not any(node.op_type == "Constant" for node in model.graph.node):
        return model
    outputs = {output.name for output in model.graph.output}
    readers: dict[str, list[str]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node.op_type)
    stored: dict[str, TensorProto] = {}
    for node in model.graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            continue
        tensor = None if node.output[0] in outputs else _tensor(node)
        if tensor is not None and not _only_scales(tensor, readers[node.output[0]]):
            stored[node.output[0]] = tensor
    if not stored:
        return model
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    kept = [n for n in rewritten.graph.node if n.op_type != "Constant" or n.output[0] not in stored]
    nodes = onnx.GraphProto()
    nodes.node.extend(kept)
    del rewritten.graph.node[:]
    rewritten.graph.node.extend(nodes.node)
    rewritten.graph.initializer.extend(stored.values())
    known = [info for info in rewritten.graph.value_info if info.name not in stored]
    if len(known) < len(rewritten.graph.value_info):
        infos = onnx.GraphProto()
        infos.value_info.extend(known)
        del rewritten.graph.value_info[:]
        rewritten.graph.value_info.extend(infos.value_info)
    return rewritten


def is_padding(op: str, values: np.ndarray) -> bool:
    """Say whether stored ``values`` that ``op`` reads are padding: zeros beside channels."""
    return op == "Concat" and values.ndim >= MAPS and not values.any()


def _tensor(node: onnx.NodeProto) -> TensorProto | None:
    """Return what a Constant node holds, named as its output; None for text and sparse values."""
    if len(node.attribute) != 1 or len(node.output) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        if attribute.t.data_type == TensorProto.STRING:
            return None
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    kind = _NUMBERS.get(attribute.name)
    if kind is None:
        return None
    values = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.from_array(np.asarray(values, kind), node.output[0])


def _only_scales(tensor: TensorProto, readers: list[str]) -> bool:
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return (
        tensor.data_type in floats
        and len(tensor.dims) > 0
        and all(side == 1 for side in tensor.dims)
        and all(op in ELEMENTWISE for op in readers)
    )
