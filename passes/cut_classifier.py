"""Cut the classifier off, so that the last block's features are the network's output."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import onnx_graphsurgeon as gs

from .base import Keeps, Pass, Report
from .blocks import find_blocks
from .errors import UnsupportedGraphError
from .graph import Graph

FEATURES = "features"
POOLS = ("GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "AveragePool")
BEFORE_POOL = (
    "Conv", "BatchNormalization", "Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Mul",
    "Dropout", "Identity", "LeakyRelu",
)  # fmt: skip
BEHIND_POOL = (
    *BEFORE_POOL, "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Gemm", "MatMul",
    "Add", "Softmax", "LogSoftmax", "Cast",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CutClassifier(Pass):
    """Leave the features of the last block as the only output, named ``features``.

    Matches  behind the last block (or the last features before a global pool, where no blocks
             were found): [1x1 convolution, BN, activation], global pooling, linear layers,
             softmax, to the only output.
    Changes  all of that goes, MobileNetV2's 1280 convolution too.
    Keeps    nothing. A network that ends in its last block is left as it is.
    """

    name: ClassVar[str] = "cut-classifier"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """Cut in place. Raises UnsupportedGraphError if what stands there is no classifier."""
        report = Report()
        if len(graph.outputs) != 1:
            raise UnsupportedGraphError(
                f"cut-classifier: {len(graph.outputs)} outputs were found "
                f"({', '.join(t.name for t in graph.outputs)}); a classifier with one is wanted"
            )
        tap = _tap(graph)
        if tap is None:
            raise UnsupportedGraphError(
                "cut-classifier: neither blocks nor a global pooling were found; an image "
                "classifier, or a backbone that ends in its last block, is wanted"
            )
        output = graph.outputs[0]
        if tap is output:
            report.left[tap.inputs[0].name] = "it ends the network already"
            return report
        tail = _tail(graph, tap)
        _check(tail, tap)
        graph.gs.outputs[:] = [tap]
        graph.cleanup()
        if tap.name != FEATURES:
            tap.name = graph.new_name(FEATURES)
        if tap.dtype is None:
            tap.dtype = output.dtype
        for node in tail:
            report.rewrote[node.name] = "cut off"
        graph.refresh_shapes()
        return report


def _tap(graph: Graph) -> gs.Tensor | None:
    blocks = find_blocks(graph).blocks
    if blocks:
        return blocks[-1].output
    pools = [n for n in graph.nodes if n.op in ("GlobalAveragePool", "GlobalMaxPool")]
    return pools[-1].inputs[0] if pools else None


def _tail(graph: Graph, tap: gs.Tensor) -> list[gs.Node]:
    """Return every node that works on ``tap`` or on what is made of it, in graph order."""
    made = {id(tap)}
    tail = []
    for node in graph.nodes:
        if any(id(tensor) in made for tensor in node.inputs):
            tail.append(node)
            made.update(id(tensor) for tensor in node.outputs)
    return tail


def _check(tail: list[gs.Node], tap: gs.Tensor) -> None:
    pooled = False
    for node in tail:
        pooled = pooled or node.op in POOLS
        allowed = (*BEHIND_POOL, *POOLS) if pooled else BEFORE_POOL
        window = max(node.inputs[1].shape[2:], default=1) if node.op == "Conv" else 1
        if node.op not in allowed or (not pooled and window != 1):
            raise UnsupportedGraphError(
                f"{node.name} ({node.op}): stands between the last block ({tap.name}) and the "
                "output; a classifier is wanted there: [1x1 convolution], global average pooling, "
                "linear layer"
            )
    if not pooled:
        raise UnsupportedGraphError(
            f"{tail[-1].name}: no global pooling stands behind the last block ({tap.name}); "
            "an image classifier is wanted"
        )
