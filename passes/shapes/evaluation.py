"""Evaluate the parts of a graph that depend on constants only."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Left, Report, Rewrote
from ..graph import Graph
from ..graph.inference import ONNX_ERRORS
from ..graph.operators import CONTROL_FLOW, DRAWS, READS_SIZE, RESIZES
from ..graph.surgery import become_constant, values_of
from ..graph.tensor_checks import is_float
from .arithmetic import FOLLOWED

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # elements of a folded result that its inputs do not already hold

# the numbers stay the same ones, so a parameter that passes through them stays a parameter
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast", "Flatten", "Identity")
REPEATS = ("ConstantOfShape", "Expand", "Tile")  # one number many times: padding, no weight
NEVER = ("Constant", *DRAWS, *CONTROL_FLOW, "DequantizeLinear")


def fold_stored(
    node: gs.Node, graph: Graph, report: Report, *, weights: bool = False
) -> Rewrote | Left | None:
    """Evaluate a node whose inputs are all stored.

    weights  also where it computes a weight from parameters: they are trained no more
    """
    inputs = [t for t in node.inputs if not t.is_empty()]
    if not inputs or node.op in NEVER or len(node.outputs) != 1:
        return None
    if not all(isinstance(t, gs.Constant) for t in inputs):
        return None
    arrays = {t.name: values_of(t) for t in inputs}
    result = node.outputs[0]
    if graph.is_output(result):
        return Left("it is an output of the network")
    floats = [t for t in inputs if is_float(arrays[t.name].dtype) and arrays[t.name].size > 1]
    size_alone = node.op in READS_SIZE or is_size(graph, result)
    if floats and node.op not in MOVES and not size_alone and not weights:
        return Left("it computes a weight from parameters")
    if node.op in REPEATS and not size_alone and _makes_floats(node, arrays):
        return Left("floats of one value are padding, not weights")
    largest = max(LARGEST, *(a.size for a in arrays.values()))
    size = _size_of_result(node, arrays, graph.opset)
    if size is not None and size > largest:
        return Left(f"it would store {size} elements")
    value = evaluate(node, arrays, graph.opset)
    if value is None:
        return Left(f"{node.op} of stored tensors could not be evaluated")
    if value.size > largest:
        return Left(f"it would store {value.size} elements")
    constant = become_constant(graph, result, value)
    if floats:
        report.initializers[constant.name] = f"copied from {floats[0].name} ({node.op})"
    return Rewrote("evaluated")


def _makes_floats(node: gs.Node, arrays: dict[str, np.ndarray]) -> bool:
    """Say whether an operator of ``REPEATS`` repeats a float."""
    if node.op == "ConstantOfShape":
        fill = node.attrs.get("value")
        return fill is None or is_float(np.asarray(fill.values).dtype)
    return is_float(arrays[node.inputs[0].name].dtype)


def is_size(graph: Graph, tensor: gs.Tensor, depth: int = 8) -> bool:
    """Say whether ``tensor`` is used only as the scales or sizes of a resize."""
    readers = graph.consumers(tensor)
    if not readers or not depth or graph.is_output(tensor):
        return False
    for node in readers:
        if node.op in RESIZES:
            if node.inputs[0] is tensor:
                return False
        elif node.op not in FOLLOWED or not all(is_size(graph, t, depth - 1) for t in node.outputs):
            return False
    return True


def _size_of_result(node: gs.Node, arrays: dict[str, np.ndarray], opset: int) -> int | None:
    """Return how many elements a node's output has, before it is computed; None: not known."""
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

    stored = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    result = onnx.ValueInfoProto(name=node.outputs[0].name)
    body = onnx.helper.make_graph([OnnxExporter.export_node(node)], "one", [], [result], stored)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except ONNX_ERRORS:
        return None
    shape = inferred.graph.output[0].type.tensor_type.shape
    if not inferred.graph.output[0].type.tensor_type.HasField("shape"):
        return None
    return math.prod(max(int(d.dim_value), 1) for d in shape.dim)


def evaluate(node: gs.Node, arrays: dict[str, np.ndarray], opset: int) -> np.ndarray | None:
    """Return the node's first output, from ONNX's reference implementation; None if it has none.

    The reference is given a graph: of a single node it takes the newest version, whatever the
    operator set.
    """
    from onnx.reference import ReferenceEvaluator
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

    inputs = [onnx.ValueInfoProto(name=name) for name in arrays]
    outputs = [onnx.ValueInfoProto(name=tensor.name) for tensor in node.outputs]
    body = onnx.helper.make_graph([OnnxExporter.export_node(node)], "one", inputs, outputs)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        runner = ReferenceEvaluator(model)
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
