"""Fold shape arithmetic, and movement of stored tensors, into initializers."""

from __future__ import annotations

import dataclasses
import logging
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.layout import image_axes
from ..graph.operators import CONTROL_FLOW, READS_SIZE
from ..graph.surgery import argument, become_constant, set_input
from ..shapes.evaluation import fold_stored, is_size
from ..shapes.following import Known
from ..shapes.sized_shapes import known_at

log = logging.getLogger(__name__)

FINDS = ("NonZero", "NonMaxSuppression", "Compress", "Unique", *CONTROL_FLOW)
"""Operators whose results may have no elements at all, as the data will have it."""


@dataclasses.dataclass(frozen=True)
class FoldShapeArithmetic(Pass):
    """Store every value that is known before the network runs.

    Matches  1. shape arithmetic (Shape, Gather, Slice, Concat, Mul, ...) whose numbers depend
                neither on the batch nor on the size of the images,
             2. the target of a Reshape or Expand in which at most one number is not known: it
                becomes 0 (copied from the input) or -1,
             3. nodes all of whose inputs are stored: integers, or a movement of floats (Reshape,
                Transpose, Cast, ...). Arithmetic on stored floats of more than one number is left:
                it computes a weight from parameters that are to be trained, unless it is the
                scale of a Resize. A float repeated (ConstantOfShape, Expand, Tile) is left too: it
                is padding, no weight.
    Changes  the tensor becomes an initializer of the same name; its nodes are removed.
    Keeps    interface and outputs, at every image size; with ``declared``, at the sizes that the
             inputs declare.

    ``declared``  numbers for batch, height and width in the inputs' shapes are final: what follows
                  from them is stored as well
    ``weights``   no parameter is trained any more: arithmetic on stored floats is stored as well
    """

    declared: bool = False
    weights: bool = False

    name: ClassVar[str] = "fold-shape-arithmetic"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        self._fold_stored(graph, report)
        graph.cleanup()  # shapes are inferred of whole nodes only
        if any(node.op in READS_SIZE for node in graph.nodes):
            known = known_at(graph) if self.declared else _known_at_any_size(graph)
            derived = _made_of_findings(graph)
            for node in list(graph.nodes):
                name = node.name
                if node.op in ("Reshape", "Expand"):
                    report.note(name, _fold_target(node, known, graph, derived))
                else:
                    report.note(name, _fold_known(node, known, graph))
            self._fold_stored(graph, report)  # what those shapes had still kept open
        if report.rewrote:
            graph.cleanup()
        return report

    def _fold_stored(self, graph: Graph, report: Report) -> None:
        for node in list(graph.nodes):
            if node.outputs:  # not one that has just been stored
                name = node.name
                report.note(name, fold_stored(node, graph, report, weights=self.weights))


def _fold_known(node: gs.Node, known: Known, graph: Graph) -> Rewrote | None:
    """Store the outputs of a node all of whose numbers are known at any size."""
    folded = False
    for tensor in list(node.outputs):
        values = known.numbers(tensor.name)
        if values is None or graph.is_output(tensor) or node.op == "Constant":
            continue
        if values.dtype.kind == "f" and not is_size(graph, tensor):
            continue  # it may compute a weight from parameters
        become_constant(graph, tensor, values)
        folded = True
    return Rewrote("shape known") if folded else None


def _known_at_any_size(graph: Graph) -> Known:
    """Follow the graph with batch and image sizes as symbols, where that is possible."""
    probe = graph.copy()
    for number, tensor in enumerate(probe.inputs):
        axes = image_axes(tensor)
        if axes is not None:
            names = {0: "batch", axes[0]: "height", axes[1]: "width"}
            tensor.shape = [
                side if isinstance(side, str) or axis not in names else f"{names[axis]}.{number}"
                for axis, side in enumerate(tensor.shape)
            ]
    for output in probe.outputs:
        output.shape = None
    try:
        return known_at(probe)
    except UnsupportedGraphError:
        return known_at(graph)


def _made_of_findings(graph: Graph) -> set[int]:
    """Return ids of tensors whose length depends on what the network detects in an image."""
    derived: set[int] = set()
    for node in graph.nodes:
        if node.op in FINDS or any(id(t) in derived for t in node.inputs):
            derived.update(id(t) for t in node.outputs)
    return derived


def _fold_target(
    node: gs.Node, known: Known, graph: Graph, derived: set[int]
) -> Rewrote | Left | None:
    """Store the target of a Reshape or Expand of which all numbers but one are known."""
    target = argument(node, 1)
    if target is None or isinstance(target, gs.Constant):
        return None
    value = known.values.get(target.name)
    partial = None if value is None else value.integers()
    if partial is None:
        return Left("its target shape depends on the image or the data")
    source = known.shapes.get(node.inputs[0].name)
    values: list[int] = []
    unknown = 0
    for place, side in enumerate(partial):
        if isinstance(side, int):
            values.append(side)
        elif node.op == "Expand":
            return Left("its target shape depends on the image or the data")
        elif side is not None and source and place < len(source) and source[place] == side:
            values.append(0)
        else:
            values.append(-1)
            unknown += 1
    if unknown and (unknown > 1 or values.count(-1) > 1 or -1 in partial):
        return Left("its target shape depends on the image or the data")
    if unknown and id(node.inputs[0]) in derived:
        return Left("there may be nothing in it: -1 cannot be worked out from no elements")
    if node.attrs.get("allowzero", 0) and 0 in values:
        return Left("its target may hold a zero of its own (allowzero)")
    shape = gs.Constant(graph.new_name(f"{node.name}.shape"), np.array(values, np.int64))
    set_input(node, 1, shape)
    return Rewrote(f"target {values}")
