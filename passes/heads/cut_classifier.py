"""Cut the classifier off, so that the network outputs the features that a head reads."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph
from .encoder import has_own_head
from .taps import BEFORE_POOL, classifier_nodes, find_taps, flattens, pools_everything

FEATURES = "features"


@dataclasses.dataclass(frozen=True)
class CutClassifier(Pass):
    """Make the backbone's features the outputs, each named after its tap.

    Matches  an image classifier, a backbone that ends in its features, or a network with a head of
             its own (segmentation, detection). ``taps`` are found from strides and depth
             (passes/heads/taps.py): c2, c3, c4, c5, expansion, features, last.
    Changes  nodes that no tap needs are removed: [1x1 convolution, BN, activation], global
             pooling, linear layers, softmax; MobileNetV2's 1280 convolution unless ``last`` is
             asked for; the head.
    Keeps    nothing. A network that ends in these features is left as it is.

    taps   the tensors to output, written ``c3+c4+c5``
    """

    name: ClassVar[str] = "cut-classifier"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    taps: tuple[str, ...] = (FEATURES,)

    def run(self, graph: Graph) -> Report:
        """Cut in place. Raises UnsupportedGraphError if there is no classifier at that place."""
        report = Report()
        taps = find_taps(graph, self.taps)
        outputs = list(taps.values())
        if len(graph.outputs) == len(outputs) and all(
            a is b for a, b in zip(graph.outputs, outputs)
        ):
            report.left[outputs[-1].inputs[0].name] = "it ends the network already"
            return report
        output = graph.outputs[0]
        if not has_own_head(graph):
            _check(graph, find_taps(graph, (FEATURES,))[FEATURES])
        before = {node.name: node for node in graph.nodes}
        for name, tensor in taps.items():
            if tensor.name != name:
                tensor.name = graph.new_name(name)
            if tensor.dtype is None:
                tensor.dtype = output.dtype or np.dtype("float32")
        graph.put_outputs(outputs)
        graph.cleanup()
        kept = {id(node) for node in graph.nodes}
        for name, node in before.items():
            if id(node) not in kept:
                report.rewrote[name] = "cut off"
        if not report.rewrote:
            report.rewrote[outputs[0].inputs[0].name] = "an output now"
        graph.refresh_shapes()
        return report


def _check(graph: Graph, tap: gs.Tensor) -> None:
    """Raise UnsupportedGraphError unless only a classifier, or nothing, follows ``tap``.

    What is made of pooled or flattened features alone may be anything: it goes.
    """
    maps = {id(tap)}
    for node in classifier_nodes(graph, tap):
        if not any(id(t) in maps for t in node.inputs):
            continue
        if flattens(node) or pools_everything(graph, node):
            continue
        maps.update(id(t) for t in node.outputs)
        window = max(node.inputs[1].shape[2:], default=1) if node.op == "Conv" else 1
        if node.op not in BEFORE_POOL or window != 1:
            raise UnsupportedGraphError(
                f"{node.name} ({node.op}): is between the last features ({tap.name}) and the "
                "output; wanted a classifier there: [1x1 convolution], global average pooling, "
                "linear layer"
            )
