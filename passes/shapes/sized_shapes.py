"""The shapes of a network at one image size, also after arithmetic that ONNX cannot follow."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.inference import inferred_model
from ..graph.operators import LAYERS
from ..graph.surgery import elements
from .following import Known, follow


def shapes_at(graph: Graph, size: Sequence[int] | None) -> dict[str, Shape]:
    """Return tensor name -> shape for a batch of one, at ``size`` (H, W).

    First sides that differ from input to input, or that the arithmetic fixes (a ``Gemm`` with
    ``transA``), are no batch: they stay as the file declares them.

    Where arithmetic on sizes (a channel shuffle, TF's padding) hides a shape from ONNX's inference,
    it is followed (:mod:`.following`).

    Raises UnsupportedGraphError if ONNX cannot infer the graph.
    """
    shapes = _all_shapes(graph, _inferred_for_one(graph, size))
    if size is None:
        return shapes
    try:
        _check_reshapes(graph, shapes, size)
    except UnsupportedGraphError:
        firsts = {tensor.shape[0] for tensor in graph.inputs if tensor.shape}
        if firsts <= {1} or not all(isinstance(first, int) for first in firsts):
            raise
        shapes = _all_shapes(graph, inferred_model(graph.skeleton(size)))  # as it is declared
        _check_reshapes(graph, shapes, size)
    return shapes


def _all_shapes(graph: Graph, inferred: onnx.ModelProto) -> dict[str, Shape]:
    shapes = _shapes_of(graph, inferred)
    return shapes | follow(inferred).shapes if _hidden(graph, shapes) else shapes


def _inferred_for_one(graph: Graph, size: Sequence[int] | None) -> onnx.ModelProto:
    """Infer the graph for a batch of one, or as declared where its first sides are no batch."""
    firsts = [tensor.shape[0] for tensor in graph.inputs if tensor.shape]
    declared = all(isinstance(first, int) for first in firsts)
    if declared and len(set(firsts)) > 1:
        return inferred_model(graph.skeleton(size))
    try:
        return inferred_model(graph.skeleton(size, 1))
    except UnsupportedGraphError:
        if not declared or set(firsts) <= {1}:
            raise
        return inferred_model(graph.skeleton(size))


def known_at(
    graph: Graph, size: Sequence[int | str] | None = None, batch: int | None = None
) -> Known:
    """Return all that is known of the graph's tensors; see :meth:`.Graph.infer`.

    Raises UnsupportedGraphError if the shapes do not fit each other.
    """
    inferred = inferred_model(graph.skeleton(size, batch))
    known = follow(inferred)
    for constant in graph.constants():
        known.shapes[constant.name] = tuple(constant.shape)
    return known


def _shapes_of(graph: Graph, inferred: onnx.ModelProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for info in [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]:
        if info.type.tensor_type.HasField("shape"):
            shapes[info.name] = tuple(
                d.dim_value if d.HasField("dim_value") else (d.dim_param or None)
                for d in info.type.tensor_type.shape.dim
            )
    shapes |= {constant.name: tuple(constant.shape) for constant in graph.constants()}
    return shapes


def _check_reshapes(graph: Graph, shapes: dict[str, Shape], size: Sequence[int]) -> None:
    """Raise UnsupportedGraphError for a Reshape to a target of another image size."""
    for node in graph.nodes:
        if node.op != "Reshape":
            continue
        before, after = (shapes.get(t.name) for t in (node.inputs[0], node.outputs[0]))
        counts = [elements(before), elements(after)]
        if None not in counts and counts[0] != counts[1]:
            raise UnsupportedGraphError(
                f"{node.name} (Reshape): {before} at {size[0]}x{size[1]} cannot become {after}: "
                "the file computes at one size; leave the size out, or let it follow with "
                "fnac run-pass 'raise-opset, follow-sizes'"
            )


def _hidden(graph: Graph, shapes: dict[str, Shape]) -> bool:
    return any(
        not _numeric(shapes.get(tensor.name))
        for node in graph.nodes
        if node.op in LAYERS
        for tensor in (node.inputs[0], node.outputs[0])
    )


def _numeric(shape: Shape | None) -> bool:
    return shape is not None and all(isinstance(d, int) for d in shape)
