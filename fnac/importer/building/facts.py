"""What is known about an ONNX model before import: ranks, shapes, types, consumers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import TensorProto

from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.shapes.arithmetic import Shape
from fnac.passes.shapes.following import follow

WEIGHT = 1024  # elements from which an initializer is taken for a weight: inference needs no values


class Facts:
    """Inferred shapes and element types of a model's tensors, and how often each is read."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = {_plain(o.domain): o.version for o in model.opset_import}
        self._types: dict[str, int] = {}
        self._shapes: dict[str, tuple[int | None, ...]] = {}
        inferred = _inferred(model)
        declared = [v for v in model.graph.value_info if v.type.WhichOneof("value")]
        for value in [*declared, *_infos(inferred.graph)]:
            kind = value.type.tensor_type
            if kind.elem_type:
                self._types[value.name] = kind.elem_type
            if kind.HasField("shape"):
                self._shapes[value.name] = tuple(
                    d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim
                )
        for name, shape in _followed(inferred).items():
            self._shapes[name] = tuple(d if isinstance(d, int) else None for d in shape)
        for tensor in model.graph.initializer:
            self._types[tensor.name] = tensor.data_type
            self._shapes[tensor.name] = tuple(tensor.dims)
        self.reads = Counter(name for node in nodes_of(model.graph) for name in node.input if name)
        self.reads.update(v.name for v in model.graph.output)
        self.producers = {
            name: node for node in nodes_of(model.graph) for name in node.output if name
        }

    def opset(self, domain: str) -> int:
        """Return the imported version of a domain (1 if the model names none)."""
        return int(self.opsets.get(_plain(domain), 1))

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Return a tensor's shape, None for an unknown rank; None in it for an unknown size."""
        return self._shapes.get(name)

    def rank(self, name: str) -> int | None:
        """Return a tensor's rank if it is known."""
        shape = self._shapes.get(name)
        return None if shape is None else len(shape)

    def elem_type(self, name: str) -> int:
        """Return a tensor's ONNX element type, 0 if it is unknown."""
        return self._types.get(name, 0)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    slim = onnx.ModelProto()
    slim.opset_import.extend(model.opset_import)
    slim.ir_version = max(model.ir_version, 4)
    slim.functions.extend(model.functions)
    graph = slim.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    stored = {t.name for t in model.graph.initializer}
    graph.input.extend(v for v in model.graph.input if v.name not in stored)
    for tensor in model.graph.initializer:
        size = 1
        for d in tensor.dims:
            size *= d
        if size >= WEIGHT or tensor.data_location == TensorProto.EXTERNAL:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            graph.initializer.append(tensor)
    try:
        return onnx.shape_inference.infer_shapes(slim, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return slim


def _infos(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    known = [*graph.value_info, *graph.input, *graph.output]
    return [v for v in known if v.type.WhichOneof("value") == "tensor_type"]


def _followed(inferred: onnx.ModelProto) -> dict[str, Shape]:
    """Return shapes after nodes that ONNX cannot follow, such as views before operator set 13."""
    try:
        return follow(inferred).shapes
    except UnsupportedGraphError:
        return {}  # the converter of the node that contradicts itself says so


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
