"""Fold shape arithmetic, and movement of stored tensors, into initializers."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .base import Keeps, Left, Pass, Report, Rewrote
from .errors import UnsupportedGraphError
from .graph import Graph, Shape
from .partial import Partial, numbers, propagate
from .surgery import argument, become_constant, values_of
from .tensor_checks import is_float

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # elements of a folded result that its inputs do not already hold
# the numbers stay the same ones, so a parameter that passes through them stays a parameter
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast", "Flatten", "Identity")
TRUTHS = ("Equal",)
NEVER = ("Constant", "RandomNormal", "RandomUniform", "Loop", "If", "Scan", "DequantizeLinear")


@dataclasses.dataclass(frozen=True)
class FoldShapeArithmetic(Pass):
    """Store what is known before the network runs.

    Matches  1. shape arithmetic (Shape, Gather, Slice, Concat, Mul, ...) whose numbers depend
                neither on the batch nor on the size of the images,
             2. the target of a Reshape or Expand in which at most one number is not known: it
                becomes 0 (copied from the input) or -1,
             3. nodes all of whose inputs are stored: integers, or a movement of floats (Reshape,
                Transpose, Cast, ...). Arithmetic on stored floats of more than one number is left:
                it computes a weight from parameters that are to be trained, unless it is the
                scale of a Resize.
    Changes  the tensor becomes an initializer of the same name; its nodes go.
    Keeps    interface and outputs, at every image size.
    """

    name: ClassVar[str] = "fold-shape-arithmetic"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        for node in list(graph.nodes):
            name = node.name
            report.note(name, fold_stored(node, graph, report))
        graph.cleanup()  # shapes are inferred of whole nodes only
        if any(node.op in ("Shape", "Size") for node in graph.nodes):
            shapes = _shapes_at_any_size(graph)
            known = propagate(graph, shapes)
            for node in list(graph.nodes):
                name = node.name
                if node.op in ("Reshape", "Expand"):
                    report.note(name, _fold_target(node, graph, shapes, known))
                elif node.outputs and not graph.is_output(node.outputs[0]):
                    values = numbers(known.get(node.outputs[0].name))
                    if values is not None and node.op != "Constant":
                        kind = bool if node.op in TRUTHS else np.int64
                        become_constant(graph, node.outputs[0], values.astype(kind))
                        report.note(name, Rewrote("shape known"))
        if report.rewrote:
            graph.cleanup()
        return report


def fold_stored(node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
    """Evaluate a node whose inputs are all stored."""
    inputs = [t for t in node.inputs if not t.is_empty()]
    if not inputs or node.op in NEVER or len(node.outputs) != 1:
        return None
    if not all(isinstance(t, gs.Constant) for t in inputs):
        return None
    result = node.outputs[0]
    if graph.is_output(result):
        return Left("it is an output of the network")
    floats = [t for t in inputs if is_float(t.dtype) and values_of(t).size > 1]
    if floats and node.op not in MOVES and not _is_size(graph, result):
        return Left("it computes a weight from parameters")
    arrays = {t.name: values_of(t) for t in inputs}
    largest = max(LARGEST, *(a.size for a in arrays.values()))
    size = _size_of_result(node, arrays, graph.opset)
    if size is not None and size > largest:
        return Left(f"it would store {size} elements")
    value = evaluate(node, arrays, graph.opset)
    if value is None:
        return Left(f"{node.op} of stored tensors could not be evaluated")
    if value.size > largest:
        return Left(f"it would store {value.size} elements")
    made = become_constant(graph, result, value)
    if floats:
        report.initializers[made.name] = f"copied from {floats[0].name} ({node.op})"
    return Rewrote("evaluated")


def _is_size(graph: Graph, tensor: gs.Tensor) -> bool:
    """Say whether ``tensor`` is only read as the scales or sizes of a resize."""
    readers = graph.consumers(tensor)
    return bool(readers) and all(
        node.op in ("Resize", "Upsample") and node.inputs[0] is not tensor for node in readers
    )


def _size_of_result(node: gs.Node, arrays: dict[str, np.ndarray], opset: int) -> int | None:
    """Return how many elements a node's output has, before it is computed; None: not known."""
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

    stored = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    result = onnx.ValueInfoProto(name=node.outputs[0].name)
    body = onnx.helper.make_graph([OnnxExporter.export_node(node)], "one", [], [result], stored)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return None
    shape = inferred.graph.output[0].type.tensor_type.shape
    if not inferred.graph.output[0].type.tensor_type.HasField("shape"):
        return None
    return math.prod(max(d.dim_value, 1) for d in shape.dim)


def evaluate(node: gs.Node, arrays: dict[str, np.ndarray], opset: int) -> np.ndarray | None:
    """Return the node's first output, from ONNX's reference implementation; None if it has none."""
    from onnx.reference import ReferenceEvaluator
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

    try:
        runner = ReferenceEvaluator(OnnxExporter.export_node(node), opsets={"": opset})
        value: Any = runner.run(None, arrays)
    except (
        NotImplementedError,
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
    ) as error:
        # what the reference raises for a node that it cannot compute; the node then stays as it is
        log.debug("%s (%s) is not folded, the reference fails: %r", node.name, node.op, error)
        return None
    return np.asarray(value[0])


def _shapes_at_any_size(graph: Graph) -> dict[str, Shape]:
    """Infer shapes with the batch and the sizes of images as symbols, where that is possible."""
    probe = graph.copy()
    for number, tensor in enumerate(probe.inputs):
        if tensor.shape is not None and len(tensor.shape) == 4:
            batch, channels, height, width = tensor.shape
            tensor.shape = [
                batch if isinstance(batch, str) else f"batch.{number}",
                channels,
                height if isinstance(height, str) else f"height.{number}",
                width if isinstance(width, str) else f"width.{number}",
            ]
    for output in probe.outputs:
        output.shape = None
    try:
        return probe.infer_shapes()
    except UnsupportedGraphError:
        return graph.infer_shapes()


def _fold_target(
    node: gs.Node, graph: Graph, shapes: dict[str, Shape], known: dict[str, Partial]
) -> Rewrote | Left | None:
    """Store the target of a Reshape or Expand of which all numbers but one are known."""
    target = argument(node, 1)
    if target is None or isinstance(target, gs.Constant):
        return None
    partial = known.get(target.name)
    if partial is None:
        return Left("its target shape depends on the image or the data")
    source = shapes.get(node.inputs[0].name)
    values: list[int] = []
    unknown = 0
    for place, value in enumerate(partial):
        if isinstance(value, int):
            values.append(value)
        elif node.op == "Expand":
            return Left("its target shape depends on the image or the data")
        elif value is not None and source and place < len(source) and source[place] == value:
            values.append(0)
        else:
            values.append(-1)
            unknown += 1
    if unknown and (unknown > 1 or values.count(-1) > 1 or -1 in partial):
        return Left("its target shape depends on the image or the data")
    if node.attrs.get("allowzero", 0) and 0 in values:
        return Left("its target may hold a zero of its own (allowzero)")
    made = gs.Constant(graph.new_name(f"{node.name}.shape"), np.array(values, np.int64))
    node.inputs[1] = made
    return Rewrote(f"target {values}")
