"""Remove the quantization of activations, so that gradients pass and blocks can be matched."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.operators import ACTIVATIONS
from ..graph.surgery import argument, bypass, set_inputs, stored


@dataclasses.dataclass(frozen=True)
class OpenActivations(Pass):
    """Remove QuantizeLinear and the DequantizeLinear after it.

    Matches  QuantizeLinear of a computed tensor, per tensor, that only DequantizeLinears with the
             same scale and zero point read (onnxruntime's static quantization, QAT exports).
    Changes  both are removed. If the quantized range starts at zero and no activation precedes
             it, the range acted as one: a Clip to it is inserted (ReLU6 is often written so).
    Keeps    interface; outputs up to the removed rounding, which has no gradient and would stop
             training.
    """

    name: ClassVar[str] = "open-activations"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op != "QuantizeLinear" or stored(node.inputs[0]) is not None:
            return None
        result = node.outputs[0]
        readers = graph.consumers(result)
        if graph.is_output(result) or any(graph.is_output(r.outputs[0]) for r in readers):
            return Left("it is an output of the network")
        if any(r.op != "DequantizeLinear" or not _same(node, r) for r in readers):
            return Left("what reads it does not dequantize it as it was quantized")
        bounds = _range(node)
        if bounds is None:
            return Left("its scale or zero point is computed, or there is one for each channel")
        before = graph.producer(node.inputs[0])
        hidden = bounds[0] == 0 and (before is None or before.op not in ACTIVATIONS)
        for reader in readers:
            bypass(graph, reader)
        if not hidden:
            bypass(graph, node)
            return Rewrote("opened")
        low, high = (
            gs.Constant(graph.new_name(f"{node.name}.{which}"), np.array(bound, np.float32))
            for which, bound in zip(("low", "high"), bounds, strict=True)
        )
        node.op = "Clip"
        node.attrs.clear()
        set_inputs(node, [node.inputs[0], low, high])
        result.dtype = node.inputs[0].dtype
        return Rewrote(f"Clip to {bounds[0]:g} .. {bounds[1]:.4g}")


def _same(quantize: gs.Node, dequantize: gs.Node) -> bool:
    for index in (1, 2):
        a, b = argument(quantize, index), argument(dequantize, index)
        if a is b:
            continue
        one, two = stored(a), stored(b)
        if one is None or two is None or not np.array_equal(one, two):
            return False
    return True


def _range(node: gs.Node) -> tuple[float, float] | None:
    """Return the smallest and the largest number that the quantized type can represent."""
    scale, zero = stored(argument(node, 1)), np.zeros((), np.uint8)
    if argument(node, 2) is not None:
        bound = stored(argument(node, 2))
        if bound is None:
            return None
        zero = bound
    if scale is None or scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    kind = np.iinfo(zero.dtype)
    step, offset = float(scale.reshape(())), int(zero.reshape(()))
    return (kind.min - offset) * step, (kind.max - offset) * step
