"""Turn constant nodes into initializers: the first rule of the canonical form."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import become_constant, stored, values_of

LARGEST = 1 << 28  # elements; a ConstantOfShape beyond this is damage, not a weight

_SCALARS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@dataclasses.dataclass(frozen=True)
class LiftConstants(Pass):
    """Store every constant as an initializer named after the tensor the node made.

    Matches  1. Constant with a tensor or number(s), 2. ConstantOfShape of a stored shape,
             3. Identity of an initializer.
    Changes  the node goes; an initializer of the output's name is read instead. Case 3 unties what
             torch's legacy exporter tied: it merges equal initializers through Identity, and the
             parameter's own name is the *output's*.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "lift-constants"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

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
        become_constant(graph, result, values)
        if node.op == "Identity":
            report.initializers[result.name] = f"copied from {node.inputs[0].name}"
            return Rewrote("initializer untied")
        return Rewrote("stored")


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
            return np.full([int(d) for d in shape], value)
    if "value" in node.attrs:
        return np.asarray(node.attrs["value"].values)
    for attribute, dtype in _SCALARS.items():
        if attribute in node.attrs:
            return np.asarray(node.attrs[attribute], dtype)
    return Left(f"its value is of a kind that is not supported ({', '.join(node.attrs)})")
