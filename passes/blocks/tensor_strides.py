"""How much smaller each tensor is than the network's input, read from strides alone."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.operators import WINDOWED


def tensor_strides(graph: Graph) -> dict[int, float]:
    """Return id of tensor -> its stride relative to the network's inputs.

    Strides of convolutions and pools multiply, those of transposed convolutions divide; tensors
    behind a resize or a global pool keep the stride of what they were made from, since no block
    stands there.
    """
    strides: dict[int, float] = {id(tensor): 1.0 for tensor in graph.inputs}
    for node in graph.nodes:
        known = [strides[id(t)] for t in node.inputs if id(t) in strides]
        if not known:
            continue
        stride = max(known) * _factor(node)
        for tensor in node.outputs:
            strides[id(tensor)] = stride
    return strides


def _factor(node: gs.Node) -> float:
    steps = node.attrs.get("strides") or [1]
    if node.op in WINDOWED:
        return float(max(steps))
    if node.op == "ConvTranspose":
        return 1.0 / float(max(steps))
    return 1.0
