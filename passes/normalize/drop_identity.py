"""Drop nodes that compute nothing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph, Inferred
from ..graph.operators import POOLS_VALUES
from ..graph.surgery import (
    argument,
    bypass,
    ints,
    same_shape,
    stored,
    why_not_bypassed,
    window,
)

_BY_SHAPE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice", "Tile", "Resize")


@dataclasses.dataclass(frozen=True)
class DropIdentity(Pass):
    """Make the readers of a node that computes nothing read its input.

    Matches  1. Identity, 2. Dropout outside training, 3. Cast to the type it has, 4. Pad by zero,
             5. Transpose that moves nothing, 6. Concat, Sum, Min, Max, Mean of one tensor,
             7. Reshape, Flatten, Expand, Slice, Tile and Resize to the very shape it has,
             8. pooling with a 1x1 window, stride 1, no padding.
    Changes  the node is removed. A network output keeps its name.
    Keeps    interface and outputs (in inference; without Dropout training changes).

    dropout  drop Dropout as well; a network that will be trained keeps it
    """

    name: ClassVar[str] = "drop-identity"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    dropout: bool = True

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        inferred = graph.infer()
        for node in list(graph.nodes):
            if not node.inputs or not node.outputs:
                continue
            if node.op == "Dropout" and not self.dropout:
                continue
            decision = _nothing(node, inferred)
            if isinstance(decision, Rewrote):
                why_not = why_not_bypassed(graph, node)
                if why_not is None:
                    bypass(graph, node)
                else:
                    decision = Left(why_not)
            report.note(node.name, decision)
        if report.rewrote:
            graph.cleanup()
        return report


def _nothing(node: gs.Node, inferred: Inferred) -> Rewrote | Left | None:
    shapes, types = inferred.shapes, inferred.types
    source, result = node.inputs[0], node.outputs[0]
    match node.op:
        case "Identity":
            return Rewrote("identity dropped")
        case "Dropout":
            return _dropout(node)
        case "Cast" if types.get(source.name) == node.attrs.get("to"):
            return Rewrote("cast to its own type")
        case "Pad":
            pads = stored(argument(node, 1)) if "pads" not in node.attrs else node.attrs["pads"]
            return Rewrote("pad by zero") if pads is not None and not np.any(pads) else None
        case "Transpose":
            perm = node.attrs.get("perm")
            return Rewrote("moves nothing") if perm and list(perm) == sorted(perm) else None
        case "Concat" | "Sum" | "Min" | "Max" | "Mean" if len(node.inputs) == 1:
            return Rewrote("of one tensor")
    if node.op == "Resize" and _all_ones(stored(argument(node, 2))):
        return Rewrote("scales of one") if _only_reshapes(node) else None
    if node.op in _BY_SHAPE and same_shape(shapes.get(source.name), shapes.get(result.name)):
        return Rewrote("shape does not change") if _only_reshapes(node) else None
    if node.op in POOLS_VALUES and len(node.outputs) == 1:
        kernel = window(node) or []
        steps = ints(node, "strides", 1, len(kernel))
        if {*kernel, *steps} == {1} and not any(ints(node, "pads", 0, 2 * len(kernel))):
            return Rewrote("window of one")
    return None


def _dropout(node: gs.Node) -> Rewrote | Left:
    if len(node.outputs) > 1 and node.outputs[1].outputs:
        return Left("its mask is read")
    training = argument(node, 2)
    if training is not None:
        value = stored(training)
        if value is None:
            return Left("its training mode is computed")
        if bool(value):
            return Left("it is in training mode")
    return Rewrote("dropout of inference")


def _all_ones(scales: np.ndarray | None) -> bool:
    return scales is not None and scales.size > 0 and bool((scales == 1).all())


def _only_reshapes(node: gs.Node) -> bool:
    """Say whether equal shapes make ``node`` the identity."""
    if node.op == "Slice":
        steps = argument(node, 4)
        values = stored(steps)
        return steps is None or (values is not None and bool((values > 0).all()))
    if node.op == "Resize":
        # a region of interest may crop and zoom to the same shape
        mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
        return mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    return True
