"""Store and compute in float32, which training, remapping and proofs require."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from ..base import Keeps, Pass, Report
from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from ..graph.operators import STATES_TYPE
from ..graph.tensor_checks import element_type

OTHERS: dict[int, str] = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "double",
}
WHOLE = "graph"


@dataclasses.dataclass(frozen=True)
class ConvertFloat32(Pass):
    """Turn a network in float16, bfloat16 or double into one in float32.

    Matches  stored tensors, inputs, outputs and Casts of those types. Left: a network with graphs
             inside nodes, a double that float32 cannot hold.
    Changes  all of them to float32; widening halves is exact, doubles are rounded.
    Keeps    nothing: inputs and outputs become float32 as well. The report says how much the
             outputs changed, relative to the largest (float16 rounds after every node).
    """

    name: ClassVar[str] = "convert-float32"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        foreign = not_float32(graph)
        if not foreign:
            return report
        ends = [t for t in [*graph.inputs, *graph.outputs] if element_type(t.dtype) in OTHERS]
        stored = [t for t in foreign if isinstance(t, gs.Constant)]
        why_not = _why_not_converted(graph, stored)
        if why_not is not None:
            report.left[WHOLE] = why_not
            return report
        before = graph.copy()
        kinds = sorted({OTHERS[element_type(t.dtype)] for t in foreign})
        for constant in stored:
            was = OTHERS[element_type(constant.dtype)]
            constant.values = constant.values.astype(np.float32)
            constant._export_dtype = None
            report.initializers[constant.name] = f"copied from {was}"
        for node in graph.nodes:
            attribute = STATES_TYPE.get(node.op)
            if attribute is not None and node.attrs.get(attribute) in OTHERS:
                node.attrs[attribute] = TensorProto.FLOAT
            fill = node.attrs.get("value")
            if isinstance(fill, gs.Constant) and element_type(fill.dtype) in OTHERS:
                node.attrs["value"] = gs.Constant("value", fill.values.astype(np.float32))
            for tensor in node.outputs:
                if element_type(tensor.dtype) in OTHERS:
                    tensor.dtype = np.dtype(np.float32)
        for tensor in ends:
            tensor.dtype = np.dtype(np.float32)
        report.rewrote[WHOLE] = f"{', '.join(kinds)} to float32"
        report.rewrote.update(_moved(before, graph))
        return report


def not_float32(graph: Graph) -> list[gs.Tensor]:
    """Return the stored tensors, inputs and outputs that are in another floating-point type."""
    tensors = [*graph.constants(), *graph.inputs, *graph.outputs]
    return [tensor for tensor in tensors if element_type(tensor.dtype) in OTHERS]


def _why_not_converted(graph: Graph, foreign: list[gs.Constant]) -> str | None:
    for node in graph.nodes:
        if any(isinstance(value, gs.Graph) for value in node.attrs.values()):
            return f"{node.name} ({node.op}) holds a graph"
    for constant in foreign:
        wide = np.asarray(constant.values).astype(np.float64)
        largest = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
        if largest > float(np.finfo(np.float32).max):
            return f"{constant.name} holds {largest:.3g}, which is too large for float32"
    return None


def _moved(before: Graph, after: Graph) -> dict[str, str]:
    """Return node that computes an output -> how much the output changed on a random image."""
    from ..running.run import probe_size, random_feed
    from ..running.runner import Runner

    runner = Runner()
    makers = {t.name: node.name for node in after.nodes for t in node.outputs}
    ends = {tensor.name: makers.get(tensor.name, tensor.name) for tensor in after.outputs}
    try:
        feed = random_feed(after, probe_size(after, runner))
        theirs = {t.name: feed[t.name].astype(t.dtype) for t in before.inputs}
        new, old = runner.run(after, feed), runner.run(before, theirs)
    except (PassFailedError, UnsupportedGraphError, TypeError):
        # no convolution of doubles, bfloat16
        return dict.fromkeys(ends.values(), "unknown: the original cannot run")
    moved = {}
    for name, values in old.items():
        scale = float(np.abs(values.astype(np.float64)).max(initial=0.0)) or 1.0
        gap = np.abs(new[name].astype(np.float64) - values.astype(np.float64))
        worst = float(gap.max(initial=0.0)) / scale
        moved[ends[name]] = f"moved by {worst:.1e} of largest"
    return moved
