"""Turn constant nodes into initializers: the first rule of the canonical form."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.stored_numbers import ELEMENTWISE
from ..graph.surgery import become_constant, stored, values_of
from ..graph.tensor_checks import is_float

LARGEST = 1 << 28  # elements; a ConstantOfShape beyond this is damage, not a weight

_SCALARS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@dataclasses.dataclass(frozen=True)
class LiftConstants(Pass):
    """Store every constant as an initializer named after the node's output.

    Matches  1. Constant with a tensor or number(s), 2. ConstantOfShape of a stored shape,
             3. Identity of an initializer.
    Changes  the node is replaced by an initializer of its output's name. Case 1: most become
             initializers on loading; a single float that only scales becomes a scalar, so that
             it is never taken for a learned factor. Case 2: integers only; floats are padding
             and would be taken for weights. Case 3 unties what torch's legacy exporter tied: it
             merges equal initializers through Identity; the output has the parameter's name.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "lift-constants"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        if any(node.op == "Constant" and _one_float(node) for node in graph.nodes):
            graph.refresh_shapes()  # whether a number may be a scalar depends on its neighbours
        return super().run(graph)

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op not in ("Constant", "ConstantOfShape", "Identity"):
            return None
        if node.op == "Identity" and stored(node.inputs[0]) is None:
            return None
        result = node.outputs[0]
        if graph.is_output(result):
            return Left("it is an output of the network")
        values = _values(node)
        if isinstance(values, Left):
            return values
        if node.op == "Constant" and is_float(values.dtype) and values.size == 1:
            values = _as_scalar(values, graph.consumers(result), result)
        become_constant(graph, result, values)
        if node.op == "Identity":
            report.initializers[result.name] = f"copied from {node.inputs[0].name}"
            return Rewrote("initializer untied")
        return Rewrote("stored")


def _one_float(node: gs.Node) -> bool:
    values = _values(node)
    return isinstance(values, np.ndarray) and is_float(values.dtype) and values.size == 1


def _as_scalar(values: np.ndarray, readers: list[gs.Node], tensor: gs.Tensor) -> np.ndarray:
    """Return one number as a scalar, if every reader treats it alike."""
    for node in readers:
        others = [t.shape for t in node.inputs if t is not tensor]
        ranks = [len(shape) for shape in others if shape is not None]
        if node.op not in ELEMENTWISE or max(ranks, default=0) < values.ndim:
            return values
    return values.reshape(())


def _values(node: gs.Node) -> np.ndarray | Left:
    match node.op:
        case "Identity":
            return values_of(node.inputs[0]).copy()
        case "ConstantOfShape":
            shape = stored(node.inputs[0])
            if shape is None:
                return Left("its shape is computed")
            if int(np.prod(shape, dtype=object)) > LARGEST:
                return Left(f"it would store more than {LARGEST} elements")
            fill = node.attrs.get("value")
            value = np.float32(0) if fill is None else np.asarray(fill.values).reshape(())
            if is_float(value.dtype):
                return Left("floats of one value are padding, not weights")
            return np.full([int(d) for d in shape], value)
    if "value" in node.attrs:
        return np.asarray(node.attrs["value"].values)
    for attribute, dtype in _SCALARS.items():
        if attribute in node.attrs:
            return np.asarray(node.attrs[attribute], dtype)
    return Left(f"its value is of a kind that is not supported ({', '.join(node.attrs)})")
