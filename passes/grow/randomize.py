"""Replace the weights by random ones, to measure what the seed's weights are worth."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..graph import Graph
from ..graph.operators import LAYERS
from ..remap.rules import kaiming

BN_START = (1.0, 0.0, 0.0, 1.0)  # gamma, beta, mean, var


@dataclasses.dataclass(frozen=True)
class Randomize(Pass):
    """Initialise every layer outside heads at random.

    Matches  convolutions, linear layers and batch normalisations with stored weights.
    Changes  weights become He-normal, biases 0, batch normalisations the identity.
    Keeps    interface.

    random_seed  of the random weights
    """

    name: ClassVar[str] = "randomize"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    random_seed: int = 0

    def run(self, graph: Graph) -> Report:
        """Replace the weights in place."""
        report = Report()
        rng = np.random.default_rng(self.random_seed)
        done: set[int] = set()
        for node in graph.nodes:
            if node.metadata.get("fnac.part") == "head":
                continue
            if node.op not in (*LAYERS, "BatchNormalization"):
                continue
            for index, tensor in enumerate(node.inputs[1:], start=1):
                if not isinstance(tensor, gs.Constant) or id(tensor) in done:
                    continue
                done.add(id(tensor))
                tensor.values = _start(node, index, tensor, rng)
                report.initializers[tensor.name] = "fresh: random"
                report.rewrote[node.name] = "random start"
        return report


def _start(node: gs.Node, index: int, tensor: gs.Constant, rng: np.random.Generator) -> np.ndarray:
    shape, dtype = tuple(int(d) for d in tensor.shape), tensor.dtype
    if node.op == "BatchNormalization":
        return np.full(shape, BN_START[index - 1], dtype)
    if index > 1:
        return np.zeros(shape, dtype)
    turned = node.op in ("ConvTranspose", "MatMul") or (
        node.op == "Gemm" and not node.attrs.get("transB", 0)
    )
    if turned:
        swapped = kaiming((shape[1], shape[0], *shape[2:]), dtype, rng)
        return np.ascontiguousarray(swapped.swapaxes(0, 1))
    return kaiming(shape, dtype, rng)
