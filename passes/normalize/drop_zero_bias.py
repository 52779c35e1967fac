"""Remove zero biases before BatchNormalization; untie shared ones."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.operators import CONVOLUTIONS
from ..graph.surgery import argument, set_input, set_inputs, sole_reader, stored


@dataclasses.dataclass(frozen=True)
class DropZeroBias(Pass):
    """Remove a zero bias before a BatchNormalization; untie a shared zero bias.

    Matches  Conv and ConvTranspose with a stored bias of zeros: 1. read by one BatchNormalization
             alone: torch's exporter computes such biases (``dynamo=True, optimize=False``);
             2. that several nodes share: tf2onnx and optimizers store equal tensors once.
    Changes  1. the bias input is removed: it was no parameter of the network and must not become
             one; 2. each node gets its own bias, so that blocks share no weights.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "drop-zero-bias"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op not in CONVOLUTIONS:
            return None
        bias = stored(argument(node, 2))
        reader = sole_reader(graph, node.outputs[0])
        if bias is None or bias.any():
            return None
        if reader is not None and reader.op == "BatchNormalization":
            set_inputs(node, list(node.inputs)[:2])
            return Rewrote("zero bias dropped")
        shared = node.inputs[2]
        if len(graph.consumers(shared)) < 2:
            return None
        own = gs.Constant(graph.new_name(f"{node.name}.bias"), bias.copy())
        set_input(node, 2, own)
        report.initializers[own.name] = f"copied from {shared.name}"
        return Rewrote("zero bias untied")
