"""Drop the zero biases that exporters give to convolutions in front of BatchNormalization."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import argument, sole_reader, stored


@dataclasses.dataclass(frozen=True)
class DropZeroBias(Pass):
    """Remove a bias that is zero in front of a BatchNormalization.

    Matches  Conv and ConvTranspose with a stored bias of zeros, read by one BatchNormalization
             alone: torch's exporter computes such biases (``dynamo=True, optimize=False``).
    Changes  the bias input goes. It was no parameter of the network and must not become one.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "drop-zero-bias"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op not in ("Conv", "ConvTranspose"):
            return None
        bias = stored(argument(node, 2))
        reader = sole_reader(graph, node.outputs[0])
        if bias is None or reader is None or reader.op != "BatchNormalization" or bias.any():
            return None
        node.inputs = list(node.inputs)[:2]
        return Rewrote("zero bias dropped")
