"""Fold BatchNormalization into the preceding convolution or matrix product.

A normalisation of inference is an affine map of each channel c,

    y_c = (z_c - mean_c) * s_c + beta_c        with  s_c = gamma_c / sqrt(var_c + eps),

and z is linear in the weight: z_c = <W_c, x> + b_c. So W'_c = s_c * W_c and
b'_c = (b_c - mean_c) * s_c + beta_c compute the same y. Done in float64, stored in the dtype of
the weight.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import TAKES_BATCHNORM
from ..graph.surgery import argument, detach, set_inputs, set_outputs, stored, values_of


@dataclasses.dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold BatchNormalization into Conv, ConvTranspose or Gemm.

    Matches  BatchNormalization of inference with stored parameters, after a Conv, ConvTranspose
             or Gemm that has its own stored weight and bias and that nothing else reads.
    Changes  weight and bias, new tensors; the BatchNormalization is removed. MAdds stay the same.
    Keeps    interface and outputs (float noise).
    """

    name: ClassVar[str] = "fold-batchnorm"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """See the class."""
        if node.op != "BatchNormalization":
            return None
        linear = graph.producer(node.inputs[0])
        why_not = _why_not_folded(node, linear, graph)
        if why_not is not None:
            return Left(why_not)
        assert linear is not None
        channels = values_of(node.inputs[1]).size
        bias = _bias(linear, channels)
        if isinstance(bias, Left):
            return bias
        scale, shift = affine(node)
        weight = linear.inputs[1]
        dtype = values_of(weight).dtype
        folded = scale_outputs(linear, values_of(weight), scale)
        moved = bias * scale + shift
        scaled = gs.Constant(graph.new_name(f"{weight.name}.folded"), folded.astype(dtype))
        made_bias = gs.Constant(graph.new_name(f"{linear.name}.bias.folded"), moved.astype(dtype))
        set_inputs(linear, [linear.inputs[0], scaled, made_bias])
        linear.attrs.pop("beta", None)
        result = node.outputs[0]
        detach(node)
        set_outputs(linear, [result])
        report.initializers[scaled.name] = f"copied from {weight.name}, scaled"
        report.initializers[made_bias.name] = f"fresh, from {node.name}"
        return Rewrote(f"folded into {linear.op}")


def affine(node: gs.Node) -> tuple[np.ndarray, np.ndarray]:
    """Return (scale, shift), float64, one of each per channel: what ``node`` does in inference."""
    gamma, beta, mean, variance = (values_of(t).astype(np.float64) for t in node.inputs[1:5])
    scale = gamma / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))
    return scale, beta - mean * scale


def scale_outputs(node: gs.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return ``weight`` with output channel c multiplied by ``scale[c]``; a new array.

    Conv (out, in / group, ...), ConvTranspose (in, out / group, ...), Gemm (in, out) or, with
    transB, (out, in).
    """
    if node.op == "Conv":
        return np.asarray(weight * scale.reshape([-1] + [1] * (weight.ndim - 1)))
    if node.op == "Gemm":
        return np.asarray(weight * (scale[:, None] if node.attrs.get("transB", 0) else scale))
    group = Conv(node).groups
    grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    per_output = scale.reshape([group, 1, weight.shape[1]] + [1] * (weight.ndim - 2))
    return np.asarray((grouped * per_output).reshape(weight.shape))


def _why_not_folded(node: gs.Node, linear: gs.Node | None, graph: Graph) -> str | None:
    if node.attrs.get("training_mode", 0):
        return "it is in training mode"
    if any(t.outputs or graph.is_output(t) for t in list(node.outputs)[1:]):
        return "its statistics are read"
    if any(stored(t) is None for t in list(node.inputs)[1:5]):
        return "its parameters are computed"
    if linear is None or linear.op not in TAKES_BATCHNORM:
        source = "an input of the network" if linear is None else f"{linear.op}"
        return f"{source} is in front of it, not a convolution"
    if graph.is_output(node.inputs[0]):
        return f"the output of {linear.name} is an output of the network"
    if len(graph.consumers(node.inputs[0])) > 1:
        return f"the output of {linear.name} is read by other nodes, too"
    if stored(linear.inputs[1]) is None:
        return f"the weight of {linear.name} is computed"
    readers = [n.name for n in graph.consumers(linear.inputs[1]) if n is not linear]
    if readers:
        return f"the weight of {linear.name} is shared with {readers[0]}"
    return None


def _bias(linear: gs.Node, channels: int) -> np.ndarray | Left:
    """Return the bias of ``linear`` as float64, one number per channel (0 if it has none)."""
    tensor = argument(linear, 2)
    if tensor is None:
        return np.zeros(channels)
    values = stored(tensor)
    if values is None:
        return Left(f"the bias of {linear.name} is computed")
    if values.size not in (1, channels) or values.shape[-1:] not in ((), (1,), (channels,)):
        return Left(f"the bias of {linear.name} is not one number per channel")
    factor = float(linear.attrs.get("beta", 1.0)) if linear.op == "Gemm" else 1.0
    return np.asarray(np.broadcast_to(values.reshape(-1).astype(np.float64) * factor, [channels]))
