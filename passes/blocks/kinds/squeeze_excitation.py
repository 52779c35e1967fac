"""Squeeze-excitation after a convolution: t * gate(conv(act(conv(mean(t))))), [activation]."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ...graph import Graph
from ...graph.operators import ACTIVATIONS
from ...graph.surgery import averages_image, sole_reader
from ..units import ConvUnit, find_activation, pointwise, unit_behind

ELEMENTWISE = (
    *ACTIVATIONS,
    "Add",
    "Mul",
    "Div",
)  # a gate may be spelled out: clip(x + 3, 0, 6) / 6


@dataclasses.dataclass(frozen=True)
class SqueezeExcitation:
    """Pool, squeezing and exciting 1x1 convolution, gate, product, activation, as executed."""

    squeeze: ConvUnit
    excite: ConvUnit
    nodes: tuple[gs.Node, ...]

    @property
    def reads(self) -> gs.Tensor:
        """The tensor that is gated."""
        return self.nodes[0].inputs[0]

    @property
    def output(self) -> gs.Tensor:
        """The gated tensor, after its activation if there is one (ReXNet)."""
        return self.nodes[-1].outputs[0]


def match_squeeze_excitation(
    graph: Graph, units: Mapping[int, ConvUnit], tensor: gs.Tensor
) -> SqueezeExcitation | None:
    """Return the squeeze-excitation of ``tensor``, if its readers are a global pool and the Mul."""
    readers = graph.consumers(tensor)
    pools = [node for node in readers if averages_image(node) and node.attrs.get("keepdims", 1)]
    products = [node for node in readers if node.op == "Mul"]
    if len(readers) != 2 or len(pools) != 1 or len(products) != 1 or graph.is_output(tensor):
        return None
    squeeze = unit_behind(graph, units, pools[0].outputs[0])
    excite = None if squeeze is None else unit_behind(graph, units, squeeze.output)
    if squeeze is None or excite is None or not (pointwise(squeeze) and pointwise(excite)):
        return None
    path = []
    gate = excite.output
    while (node := sole_reader(graph, gate)) is not None and node is not products[0]:
        if node.op not in ELEMENTWISE or not _alone(node, gate):
            return None
        path.append(node)
        gate = node.outputs[0]
    if node is None or not any(t is gate for t in node.inputs):
        return None
    activation = find_activation(graph, products[0].outputs[0])
    return SqueezeExcitation(
        squeeze, excite, (pools[0], *squeeze.nodes, *excite.nodes, *path, products[0], *activation)
    )


def _alone(node: gs.Node, tensor: gs.Tensor) -> bool:
    """Say whether ``node`` reads ``tensor`` and single stored numbers, nothing else."""
    others = [t for t in node.inputs if t is not tensor and t.name]
    return all(isinstance(t, gs.Constant) and t.values.size == 1 for t in others)
