"""One spelling for bounded activations: Relu, or Clip with stored scalar bounds."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import (
    argument,
    bypass,
    detach,
    set_input,
    set_inputs,
    sole_reader,
    stored,
    why_not_bypassed,
)

Bounds = tuple[float, float]
BOUNDED = ("Clip", "Relu", "Min", "Max")


@dataclasses.dataclass(frozen=True)
class UnifyClip(Pass):
    """Spell every bounded activation as Relu or as one Clip(x, min, max).

    Matches  chains of Clip, Relu, and Min or Max with one stored number, each read once.
    Changes  the chain becomes its last node: Relu for [0, inf), else Clip whose two bounds are
             separate stored scalars (ReLU6 is Clip(x, 0, 6)). Clip to (-inf, inf) is removed.
    Keeps    interface and outputs, bit-identical.
    """

    name: ClassVar[str] = "unify-clip"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op not in BOUNDED or not node.outputs:
            return None
        if node.op == "Clip" and graph.opset < 11:
            return Left(f"operator set {graph.opset} has bounds as attributes; raise-opset first")
        source, bounds = _source(node), _bounds(node)
        if source is None or bounds is None:
            return Left("its bounds are not stored floats") if node.op == "Clip" else None
        following = sole_reader(graph, node.outputs[0])
        if following is not None and following.op in BOUNDED and _bounds(following) is not None:
            before = _source(following)
            if before is node.outputs[0]:
                inner = _bounds(following)
                assert inner is not None
                merged = compose(bounds, inner)
                _spell(following, source, merged, node, graph)
                detach(node)
                return Rewrote(f"merged into {following.op}")
        if bounds == (-np.inf, np.inf):
            why_not = why_not_bypassed(graph, node)
            if why_not is not None:
                return Left(why_not)
            set_input(node, 0, source)
            bypass(graph, node)
            return Rewrote("no bounds")
        if _is_canonical(node, bounds):
            return None
        was = node.op
        _spell(node, source, bounds, node, graph)
        return Rewrote(f"{was} -> {_label(bounds)}")


def compose(first: Bounds, second: Bounds) -> Bounds:
    """Return the bounds of clipping to ``first`` and then to ``second``."""
    low, high = (float(np.clip(bound, *second)) for bound in first)
    return low, high


def _source(node: gs.Node) -> gs.Tensor | None:
    """Return the tensor that ``node`` bounds."""
    if node.op in ("Min", "Max"):
        computed = [t for t in node.inputs if not isinstance(t, gs.Constant)]
        return computed[0] if len(computed) == 1 and len(node.inputs) == 2 else None
    return node.inputs[0]


def _bounds(node: gs.Node) -> Bounds | None:
    """Return (min, max) of a bounding node; None if they are not two stored numbers."""
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op == "Clip":
        values = []
        for index, open_end in ((1, -np.inf), (2, np.inf)):
            tensor = argument(node, index)
            value = np.float32(open_end) if tensor is None else stored(tensor)
            if value is None or value.size != 1 or value.dtype.kind != "f":
                return None
            values.append(_open(float(value.reshape(())), value.dtype))
        # onnxruntime and the standard let max win where min > max
        return min(values[0], values[1]), values[1]
    limits = [t.values for t in node.inputs if isinstance(t, gs.Constant)]
    if len(limits) != 1 or limits[0].size != 1 or limits[0].ndim > 1:
        return None
    if limits[0].dtype.kind != "f" or np.isnan(limits[0]).any():
        return None
    limit = float(limits[0].reshape(()))
    return (-np.inf, limit) if node.op == "Min" else (limit, np.inf)


def _open(bound: float, dtype: np.dtype) -> float:
    """Read the largest float as infinity: attribute-form Clip spells 'no bound' that way."""
    largest = float(np.finfo(dtype).max) if dtype.kind == "f" else np.inf
    return float(np.sign(bound)) * np.inf if abs(bound) >= largest else bound


def _is_canonical(node: gs.Node, bounds: Bounds) -> bool:
    if node.op == "Relu":
        return True
    scalars = all(t.values.ndim == 0 for t in node.inputs[1:] if isinstance(t, gs.Constant))
    return node.op == "Clip" and bounds != (0.0, np.inf) and scalars


def _spell(node: gs.Node, source: gs.Tensor, bounds: Bounds, first: gs.Node, graph: Graph) -> None:
    """Write ``node`` as Relu or Clip of ``source``; number type as in the bounds of ``first``."""
    dtype = next(
        (t.dtype for n in (node, first) for t in n.inputs[1:] if isinstance(t, gs.Constant)),
        np.dtype(np.float32),
    )
    node.attrs.clear()
    if bounds == (0.0, np.inf):
        node.op = "Relu"
        set_inputs(node, [source])
        return
    tensors: list[gs.Tensor] = [source]
    for word, bound in zip(("min", "max"), bounds, strict=True):
        if np.isfinite(bound):
            name = graph.new_name(f"{node.name}.{word}")
            tensors.append(gs.Constant(name, np.array(bound, dtype)))
        else:
            tensors.append(gs.Variable.empty())
    while tensors[-1].is_empty():
        tensors.pop()
    node.op = "Clip"
    set_inputs(node, tensors)


def _label(bounds: Bounds) -> str:
    if bounds == (0.0, np.inf):
        return "Relu"
    return f"Clip [{bounds[0]:g}, {bounds[1]:g}]"
