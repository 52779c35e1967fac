"""The choice points of an ONNX model, as :mod:`fnac.passes.super_network.mixtures` finds them."""

from __future__ import annotations

import dataclasses

import onnx

from fnac.passes.super_network.mixtures import Wiring, find_mixtures


@dataclasses.dataclass(frozen=True)
class Point:
    """One layer: ``regions[i]`` are candidate i's nodes, from ``entry`` to ``outputs[i]``.

    ``inside`` are the places in the graph of all nodes that the choice module stands for.
    """

    alpha: str
    entry: str
    output: str
    outputs: tuple[str, ...]
    regions: list[list[onnx.NodeProto]]
    inside: frozenset[int]

    @property
    def name(self) -> str:
        """The layer's name: alpha's without its ending."""
        return self.alpha.removesuffix(".alpha")


def find_points(graph: onnx.GraphProto) -> list[Point]:
    """Return the choice points in network order.

    What is not one is imported as the plain nodes that it is made of.
    """
    nodes = list(graph.node)
    wiring = [Wiring(node.op_type, tuple(node.input), tuple(node.output)) for node in nodes]
    stored = {tensor.name: tensor.dims for tensor in graph.initializer}
    points = []
    for mixture in find_mixtures(wiring, [output.name for output in graph.output], stored):
        regions = [[nodes[place] for place in region] for region in mixture.regions]
        points.append(
            Point(
                alpha=mixture.alpha,
                entry=mixture.entry,
                output=nodes[mixture.sum].output[0],
                outputs=mixture.outputs,
                regions=regions,
                inside=frozenset(mixture.mixing).union(*mixture.regions),
            )
        )
    return points
