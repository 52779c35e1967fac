"""One spelling for classifiers: Flatten and Gemm."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report, Rewrote
from ..graph import Graph, Shape
from ..graph.surgery import (
    argument,
    detach,
    elements,
    set_input,
    set_inputs,
    set_outputs,
    sole_reader,
    stored,
)


@dataclasses.dataclass(frozen=True)
class UnifyLinear(Pass):
    """Spell fully connected layers as Flatten and Gemm.

    Matches  1. Reshape or Squeeze of (N, C, ...) to (N, C * ...), 2. MatMul of a rank-2 tensor by
             a stored matrix, with a following Add of a stored vector if there is one.
    Changes  1. becomes Flatten(axis=1); 2. becomes one Gemm that reads the same initializers.
    Keeps    interface and outputs (the Add moves into the product: float noise).
    """

    name: ClassVar[str] = "unify-linear"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        candidates = [n for n in graph.nodes if n.op in ("Reshape", "Squeeze", "MatMul")]
        if not candidates:
            return report
        shapes = graph.infer().shapes
        for node in candidates:
            rule = _gemm if node.op == "MatMul" else _flatten
            report.note(node.name, rule(node, graph, shapes))
        if report.rewrote:
            graph.cleanup()
        return report


def _flatten(node: gs.Node, graph: Graph, shapes: dict[str, Shape]) -> Rewrote | None:
    if isinstance(node.inputs[0], gs.Constant):
        return None
    shape = shapes.get(node.inputs[0].name)
    result = shapes.get(node.outputs[0].name)
    if not shape or len(shape) < 3 or result is None or len(result) != 2:
        return None
    if node.op == "Reshape":
        target = stored(argument(node, 1))
        if target is None or node.attrs.get("allowzero", 0):
            return None
        first, second = (int(v) for v in target)
        inner = elements(shape[1:])
        keeps_batch = first == 0 or (isinstance(shape[0], int) and first == shape[0])
        # the rest, in one: -1 behind the batch, or the very number
        if not (keeps_batch or (first == -1 and second == inner)):
            return None
    elif result[0] != shape[0] or result[0] is None or any(d != 1 for d in shape[2:]):
        return None
    was = node.op
    node.op = "Flatten"
    set_inputs(node, [node.inputs[0]])
    node.attrs.clear()
    node.attrs["axis"] = 1
    return Rewrote(f"{was} -> Flatten")


def _gemm(node: gs.Node, graph: Graph, shapes: dict[str, Shape]) -> Rewrote | None:
    rows, matrix = node.inputs
    if not isinstance(matrix, gs.Constant) or len(matrix.shape) != 2:
        return None
    if isinstance(rows, gs.Constant) or len(shapes.get(rows.name) or ()) != 2:
        return None
    if matrix.dtype.kind != "f":
        return None
    following = sole_reader(graph, node.outputs[0])
    vector = _added(following, node.outputs[0], int(matrix.shape[1]))
    node.op = "Gemm"
    node.attrs.clear()
    if following is None or vector is None:
        return Rewrote("MatMul -> Gemm")
    set_input(node, len(node.inputs), vector)
    result = following.outputs[0]
    detach(following)
    set_outputs(node, [result])
    return Rewrote("MatMul, Add -> Gemm")


def _added(node: gs.Node | None, tensor: gs.Tensor, width: int) -> gs.Constant | None:
    """Return the stored vector that ``node`` adds to ``tensor``; None if it does something else."""
    if node is None or node.op != "Add":
        return None
    other = node.inputs[1] if node.inputs[0] is tensor else node.inputs[0]
    if not isinstance(other, gs.Constant) or tuple(other.shape) not in ((width,), (1, width)):
        return None
    return other
