"""One view of stored numbers: Constants and Casts of them become initializers on loading.

Paddle2ONNX writes all weights as Constant nodes, torch the numbers that stood in the program; tools
that halve files store float16 and widen it by Casts. Who counts, folds, finds or trains weights has
to look in one place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Greater", "Less", "Where")

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
COMPUTED_IN = (TensorProto.FLOAT, TensorProto.DOUBLE)
"""What stored floats are cast to for good; what is narrowed is trained as it is stored."""

MAPS = 3
"""Rank from which zeros in a Concat are padding: beside channels of maps."""

_NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def with_stored_numbers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with Constant nodes, and Casts of stored floats, as initializers.

    See :func:`with_stored_constants` and :func:`with_stored_casts`.
    """
    return with_stored_casts(with_stored_constants(model))


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
    return _storing(model, stored, stored.keys())


def with_stored_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with stored floats that a Cast brings to float or double stored so.

    A tensor that is read through such Casts alone keeps its name; else they are called as what the
    Cast leaves. What several Casts make of one tensor stays one tensor. A Cast stays a node where
    it leaves an output of the network, or where graphs inside of nodes may read what it leaves.
    """
    floats = {t.name: t for t in model.graph.initializer if t.data_type in FLOATS}
    casts = [node for node in model.graph.node if _stores(node, floats, model.graph)]
    if not casts or any(a.HasField("g") for node in model.graph.node for a in node.attribute):
        return model
    results = {node.output[0] for node in casts}
    read = {
        name for node in model.graph.node if not results & {*node.output} for name in node.input
    }
    read |= {output.name for output in model.graph.output}
    kinds: dict[str, set[int]] = defaultdict(set)
    for node in casts:
        kinds[node.input[0]].add(_kind(node))
    stored: dict[str, TensorProto] = {}
    names: dict[str, str] = {}
    of: dict[tuple[str, int], str] = {}
    for node in casts:
        source, kind = node.input[0], _kind(node)
        alone = source not in read and len(kinds[source]) == 1
        name = of.setdefault((source, kind), source if alone else node.output[0])
        names[node.output[0]] = name
        if name not in stored:
            array = numpy_helper.to_array(floats[source]).astype(_numpy_of(kind))
            stored[name] = numpy_helper.from_array(array, name)
    gone = kinds.keys() - read - stored.keys()
    rewritten = _storing(model, stored, results, gone)
    for node in rewritten.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    return rewritten


def _storing(
    model: onnx.ModelProto,
    stored: Mapping[str, TensorProto],
    results: Collection[str],
    gone: Collection[str] = (),
) -> onnx.ModelProto:
    """Return a copy of ``model`` that has ``stored`` as initializers, new or in their places.

    results  what nodes leave that go with it
    gone  initializers that go
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    body = rewritten.graph
    _keep(body.node, lambda node: len(node.output) != 1 or node.output[0] not in results)
    _keep(body.initializer, lambda tensor: tensor.name not in gone)
    replaced = [tensor for tensor in body.initializer if tensor.name in stored]
    for tensor in replaced:
        tensor.CopyFrom(stored[tensor.name])
    have = {tensor.name for tensor in replaced}
    body.initializer.extend(tensor for name, tensor in stored.items() if name not in have)
    stale = {*stored, *results, *gone}
    _keep(body.value_info, lambda info: info.name not in stale)
    _keep(body.input, lambda info: info.name not in stale)
    return rewritten


def _keep(field: Any, is_kept: Callable[[Any], bool]) -> None:
    for index in reversed(range(len(field))):
        if not is_kept(field[index]):
            del field[index]


def _stores(
    node: onnx.NodeProto, floats: Mapping[str, TensorProto], graph: onnx.GraphProto
) -> bool:
    """Say whether ``node`` is a Cast whose result can be stored in its place."""
    plain = node.op_type == "Cast" and node.domain in ("", "ai.onnx") and len(node.input) == 1
    if not plain or node.input[0] not in floats or _kind(node) not in COMPUTED_IN:
        return False
    return all(output.name != node.output[0] for output in graph.output)


def _numpy_of(kind: int) -> np.dtype[Any]:
    return onnx.helper.tensor_dtype_to_np_dtype(kind)


def _kind(cast: onnx.NodeProto) -> int:
    return next((int(a.i) for a in cast.attribute if a.name == "to"), 0)


def is_padding(op: str, values: np.ndarray) -> bool:
    """Say whether stored ``values`` that ``op`` reads are padding: zeros beside channels."""
    return op == "Concat" and values.ndim >= MAPS and not values.any()


def _tensor(node: onnx.NodeProto) -> TensorProto | None:
    """Return a Constant node's tensor, named as its output; None for text and sparse values."""
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
