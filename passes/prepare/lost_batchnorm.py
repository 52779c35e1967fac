"""Which layers lost their BatchNorm when a file was exported, and why others get none."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from ..decisions import Code, Left
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import ACTIVATES_LAYERS, LAYERS, REDUCING, SWISH_GATES
from ..graph.surgery import argument, stored

PREDICTIONS = ("Sigmoid", "Tanh", "Mul")  # what may stand behind a last layer, too
BY_PIXEL = (
    "Add", "Sub", "Div", "BatchNormalization", "Dropout", "Identity", "Flatten", "Reshape",
    "Squeeze", "Unsqueeze", "Transpose", "Concat",
)  # fmt: skip
RESTORED = ("Conv", "Gemm")
OTHER_NORMS = (
    "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization",
)  # fmt: skip


def layers_to_restore(graph: Graph, where: str) -> list[tuple[gs.Node, Left | None]]:
    """Return every Conv and Gemm, each with the reason why it gets no BatchNormalization, or None.

    where  ``auto`` or ``all``, see RestoreBatchNorm
    """
    whole = why_not_folded(graph) if where == "auto" else None
    inner, pooled = _with_layers_behind(graph), _pooled(graph)
    return [
        (node, whole or _why_not_restored(node, graph, inner, pooled))
        for node in graph.nodes
        if node.op in RESTORED
    ]


def why_not_folded(graph: Graph) -> Left | None:
    """Say why the network does not look like one whose BatchNormalization was folded.

    A folded network may keep the BatchNormalizations that no convolution could take in: in front
    of one, behind a sum or a concatenation, behind a Gemm (exporters fold into Conv only). Those
    behind a convolution, or behind its activation, are the network's own. One on the image or
    on pooled features says nothing of the convolutions.
    """
    of_picture, pooled = _depending_on(graph, graph.inputs), _pooled(graph)
    layers = [t for node in graph.nodes if node.op in LAYERS for t in node.outputs]
    behind_layers = _depending_on(graph, layers)
    kept = False
    for node in graph.nodes:
        if node.op in OTHER_NORMS and id(node.inputs[0]) not in pooled:
            return Left(f"the network normalises by itself ({node.op} {node.name})")
        if node.op == "BatchNormalization":
            if id(node.inputs[0]) not in of_picture:
                return Left(f"the network standardises its weights ({node.op} {node.name})")
            layer = _layer_in_front(node.inputs[0], node, graph)
            if layer is not None and layer.op == "Conv":
                return Left(f"the network normalises by itself ({node.op} {node.name})")
            says_nothing = id(node.inputs[0]) in pooled or id(node.inputs[0]) not in behind_layers
            kept = kept or (layer is None and not says_nothing)
    for node in graph.nodes:
        has_bias = node.op == "Conv" and argument(node, 2) is not None
        if has_bias and (kept or _reads_one_channel(node)):
            return None
        if node.op == "Add" and _adds_residual(node, graph):
            return None
    return Left(
        "no depthwise or residual convolution has a bias, so BN was never there (where=all)",
        Code.NEVER_HAD_BATCHNORM,
    )


def _layer_in_front(tensor: gs.Tensor, reader: gs.Node, graph: Graph) -> gs.Node | None:
    """Return the layer whose result, activated or not, only ``reader`` reads.

    None where it is something else (a sum, a pooling), or where others read it, too: such a
    normalisation could not be folded into the layer.
    """
    readers = [reader]
    while len(graph.consumers(tensor)) == len(readers):
        maker = graph.producer(tensor)
        if maker is None or maker.op in LAYERS:
            return maker
        if maker.op not in (*ACTIVATES_LAYERS, "Dropout", "Identity"):
            return None
        moving = [t for t in maker.inputs if not isinstance(t, gs.Constant) and t.name]
        gates = [graph.producer(t) for t in moving]
        if len(moving) == 1:
            tensor, readers = moving[0], [maker]
        elif maker.op == "Mul" and len(moving) == 2:
            swish = [
                (t, gate)
                for t, gate in zip(moving, reversed(gates), strict=True)
                if gate is not None and gate.op in SWISH_GATES and gate.inputs[0] is t
            ]
            if not swish:
                return None
            tensor, readers = swish[0][0], [maker, swish[0][1]]
        else:
            return None
    return None


def _reads_one_channel(conv: gs.Node) -> bool:
    return stored(conv.inputs[1]) is not None and Conv(conv).reads_one_channel


def _adds_plainly(node: gs.Node) -> bool:
    """Say whether a Gemm adds its stored bias unchanged, one number per channel."""
    once = all(node.attrs.get(factor, 1.0) == 1.0 for factor in ("alpha", "beta"))
    return once and len(node.inputs[2].shape) == 1


def _adds_residual(node: gs.Node, graph: Graph) -> bool:
    makers = [graph.producer(t) for t in node.inputs]
    if any(isinstance(t, gs.Constant) for t in node.inputs):
        return False
    return any(m is not None and m.op == "Conv" and len(m.inputs) > 2 for m in makers)


def _why_not_restored(
    node: gs.Node, graph: Graph, inner: set[int], pooled: set[int]
) -> Left | None:
    """Say why no BatchNormalization belongs after ``node``; None if one does."""
    if stored(node.inputs[1]) is None:
        return Left("its weight is computed")
    readers = graph.consumers(node.outputs[0])
    if any(reader.op == "BatchNormalization" for reader in readers):
        return Left("it has its BatchNormalization")
    bias = argument(node, 2)
    if bias is None:
        return Left("it has no bias")
    if stored(bias) is None:
        return Left("its bias is computed")
    if node.op == "Gemm" and not _adds_plainly(node):
        return Left("its bias is not one number per channel")
    if graph.is_output(node.outputs[0]) or not readers:
        return Left("its output is an output of the network")
    if id(node.inputs[0]) in pooled:
        return Left("its input is pooled to one pixel")
    activated = any(r.op in ACTIVATES_LAYERS and r.op not in PREDICTIONS for r in readers)
    if not activated and id(node) not in inner:
        return Left("it is the last layer of its branch")
    return None


def _with_layers_behind(graph: Graph) -> set[int]:
    """Return the ids of the nodes on whose result a convolution or matrix product depends."""
    inner: set[int] = set()
    for node in reversed(graph.nodes):
        readers = [reader for tensor in node.outputs for reader in tensor.outputs]
        if any(reader.op in LAYERS or id(reader) in inner for reader in readers):
            inner.add(id(node))
    return inner


def _depending_on(graph: Graph, tensors: Iterable[gs.Tensor]) -> set[int]:
    """Return the ids of ``tensors`` and of all that is computed from them."""
    depending = {id(tensor) for tensor in tensors}
    for node in graph.nodes:
        if any(id(tensor) in depending for tensor in node.inputs):
            depending.update(id(tensor) for tensor in node.outputs)
    return depending


def _pooled(graph: Graph) -> set[int]:
    """Return the ids of the tensors that are computed only from globally pooled features."""
    pooled: set[int] = set()
    for node in graph.nodes:
        moving = [t for t in node.inputs if not isinstance(t, gs.Constant) and t.name]
        passes_on = node.op in (*ACTIVATES_LAYERS, *LAYERS, *OTHER_NORMS, *BY_PIXEL)
        if node.op in REDUCING or (
            passes_on and moving and all(id(tensor) in pooled for tensor in moving)
        ):
            pooled.update(id(tensor) for tensor in node.outputs)
    return pooled
