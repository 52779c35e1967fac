"""Open quantized weights to float, so that they can be trained."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import argument, become_constant, stored


@dataclasses.dataclass(frozen=True)
class DequantizeWeights(Pass):
    """Replace DequantizeLinear of a stored tensor by the float tensor it computes.

    Matches  DequantizeLinear of an initializer, per tensor or per channel:
             y = (x - zero_point) * scale, in float32 as onnxruntime does it.
    Changes  the node is replaced by a float initializer of its output's name.
    Keeps    interface and outputs, bit-identical.
    """

    name: ClassVar[str] = "dequantize-weights"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op != "DequantizeLinear":
            return None
        quantized, scale = stored(node.inputs[0]), stored(node.inputs[1])
        if quantized is None:
            return Left("it dequantizes an activation")
        offset = argument(node, 2)
        zero = np.zeros(1, np.int32) if offset is None else stored(offset)
        if scale is None or zero is None:
            return Left("its scale or zero point is computed")
        if node.attrs.get("block_size", 0):
            return Left("it is quantized in blocks")
        if graph.is_output(node.outputs[0]):
            return Left("it is an output of the network")
        if quantized.dtype.kind not in "iu":
            return Left(f"its type is {quantized.dtype}; 8- to 32-bit integers are supported")
        axis = int(node.attrs.get("axis", 1))
        if not all(_fits(quantized, per_axis, axis) for per_axis in (scale, zero)):
            return Left(f"its scale or zero point does not fit axis {axis}")
        values = dequantize(quantized, scale, zero, axis)
        weight = become_constant(graph, node.outputs[0], values)
        report.initializers[weight.name] = f"copied from {node.inputs[0].name}, dequantized"
        return Rewrote(f"{quantized.dtype} -> {values.dtype}")


def _fits(values: np.ndarray, per_axis: np.ndarray, axis: int) -> bool:
    if per_axis.size == 1:
        return True
    return -values.ndim <= axis < values.ndim and per_axis.size == values.shape[axis]


def dequantize(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int) -> np.ndarray:
    """Return (values - zero) * scale as a new array of the scale's dtype.

    values  integers, any shape
    scale   one number, or one for each index of ``axis``
    zero    integers, as ``scale``
    """
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    per_axis = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
    factor = scale.reshape(shape) if scale.size > 1 else scale.reshape(())
    shifted = values.astype(np.int64) - per_axis.astype(np.int64)
    return np.asarray(shifted.astype(scale.dtype) * factor)
