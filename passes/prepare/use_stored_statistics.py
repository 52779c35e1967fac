"""Make a network that was exported in training mode compute as in inference."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import set_outputs


@dataclasses.dataclass(frozen=True)
class UseStoredStatistics(Pass):
    """Switch BatchNormalization from training to inference.

    Matches  BatchNormalization with ``training_mode`` (``torch.onnx.export(training=TRAINING)``):
             it normalises by the statistics of its batch, and other passes do not match it.
    Changes  it normalises by its stored statistics; the outputs for new statistics are removed.
    Keeps    the interface; outputs become those of the trained network. Left where the new
             statistics are read.
    """

    name: ClassVar[str] = "use-stored-statistics"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if not trains(node):
            return None
        if any(t.outputs or graph.is_output(t) for t in list(node.outputs)[1:]):
            return Left("its new statistics are read")
        del node.attrs["training_mode"]
        set_outputs(node, list(node.outputs)[:1])
        return Rewrote("stored statistics")


def trains(node: gs.Node) -> bool:
    """Say whether ``node`` normalises by the statistics of its batch."""
    return node.op == "BatchNormalization" and bool(node.attrs.get("training_mode", 0))
