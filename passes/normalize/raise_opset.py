"""Raise the operator set, so that later passes meet one spelling of every operator."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx
from onnx import version_converter

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph

WHOLE = "graph"


@dataclasses.dataclass(frozen=True)
class RaiseOpset(Pass):
    """Convert the network to operator set ``to`` with ONNX's version converter.

    Matches  a network of a lower operator set. 18 is the first in which Clip, Pad, Split, Squeeze
             and every reduction but the argmax take their numbers as inputs, not attributes.
    Changes  operators respelt (Clip bounds, Softmax below 13, BatchNormalization 7 -> 15, ...).
             Metadata of the model and of nodes that keep their name, and the manifest, are kept.
    Keeps    interface and outputs. Left when the converter has no rule for an operator.
    """

    name: ClassVar[str] = "raise-opset"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    to: int = 18

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        found = graph.opset
        if found >= self.to:
            return report
        model = graph.to_model()
        try:
            raised = version_converter.convert_version(model, self.to)
            onnx.checker.check_model(raised)
            made = Graph.from_model(raised)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            report.left[WHOLE] = f"ONNX's version converter says: {_first_line(error)}"
            return report
        except UnsupportedGraphError as error:
            report.left[WHOLE] = f"ONNX's version converter left a graph that is broken: {error}"
            return report
        kept = {node.name: node.metadata for node in graph.nodes}
        for node in made.nodes:
            node.metadata = dict(kept.get(node.name, {}))
        for old, new in zip(graph.outputs, made.outputs, strict=True):
            new.shape, new.dtype = old.shape, old.dtype
        graph.become(made)
        report.rewrote[WHOLE] = f"operator set {found} -> {self.to}"
        return report


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
