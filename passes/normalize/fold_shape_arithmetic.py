"""Fold shape arithmetic, and movement of stored tensors, into initializers."""

from __future__ import annotations

import dataclasses
import logging
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.operators import READS_SIZE
from ..graph.surgery import argument, become_constant
from ..shapes.evaluation import fold_stored
from ..shapes.partial import Partial, numbers, propagate

log = logging.getLogger(__name__)

TRUTHS = ("Equal",)


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
        if any(node.op in READS_SIZE for node in graph.nodes):
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
        return probe.infer().shapes
    except UnsupportedGraphError:
        return graph.infer().shapes


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
