"""Give a trained network other classes: only its last layer is re-initialised."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import READS_SIZE
from ..graph.surgery import argument, bypass, set_input, stored
from ..remap.rules import kaiming
from .attach_head import HEAD

PROBABILITIES = ("Softmax", "LogSoftmax", "ArgMax", "Squeeze", "Cast", "Relu")
PASSING = ("Resize", "Upsample", "Identity", "Dropout", "GlobalAveragePool", "Flatten")
LAST_LAYERS = {"Conv": (1, 0), "Gemm": (1, 0)}  # index of the weight, axis of its outputs


@dataclasses.dataclass(frozen=True)
class ReplaceClasses(Pass):
    """Give the last layer ``classes`` outputs, in an output called ``name``.

    Matches  a network whose first output comes from a Conv or Gemm with stored weights, followed
             only by resizing, pooling, softmax, arg-max and Relu.
    Changes  that layer gets ``classes`` randomly initialised outputs, unless it has as many
             already; it and what follows are marked ``fnac.part`` = ``head``. Softmax, arg-max
             and Relu are removed, because logits are trained. Further outputs are removed.
    Keeps    nothing.

    random_seed  of the new weights
    """

    name: ClassVar[str] = "replace-classes"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    classes: int = 2
    output: str = "logits"
    random_seed: int = 0

    def run(self, graph: Graph) -> Report:
        """Change in place. Raises UnsupportedGraphError if no such layer ends the network."""
        report = Report()
        graph.put_outputs(graph.outputs[:1])
        layer, behind = self._last_layer(graph)
        for node in behind:
            if node.op in PROBABILITIES:
                bypass(graph, node)
                report.rewrote[node.name] = "gone: logits are trained"
            node.metadata["fnac.part"] = HEAD
        layer.metadata["fnac.part"] = HEAD
        self._start_anew(graph, layer, report)
        output = graph.outputs[0]
        if output.name != self.output:
            output.name = graph.new_name(self.output)
        output.dtype = np.dtype("float32")
        output.shape = None
        graph.cleanup()
        graph.refresh_shapes()
        graph.name_batch()
        return report

    def _last_layer(self, graph: Graph) -> tuple[gs.Node, list[gs.Node]]:
        behind: list[gs.Node] = []
        node = graph.producer(graph.outputs[0])
        while node is not None and node.op in (*PROBABILITIES, *PASSING):
            behind.insert(0, node)
            node = graph.producer(node.inputs[0])
        maker = "the network's input" if node is None else f"{node.name} ({node.op})"
        if node is None or node.op not in LAST_LAYERS or stored(argument(node, 1)) is None:
            raise UnsupportedGraphError(
                f"replace-classes: {maker} makes the output {graph.outputs[0].name}; wanted a "
                "convolution or Gemm with stored weights there; let a head be attached instead"
            )
        readers = [r for r in graph.consumers(node.outputs[0]) if r.op not in READS_SIZE]
        if len(readers) + graph.is_output(node.outputs[0]) != 1:
            raise UnsupportedGraphError(f"replace-classes: {maker} is read by several")
        return node, behind

    def _start_anew(self, graph: Graph, layer: gs.Node, report: Report) -> None:
        rng = np.random.default_rng(self.random_seed)
        weight = np.asarray(stored(layer.inputs[1]))
        across = layer.op == "Gemm" and not layer.attrs.get("transB", 0)
        rows = weight.T if across else weight
        if len(rows) == self.classes:
            report.left[layer.name] = f"it has {self.classes} outputs already"
            return
        if Conv(layer).groups > 1:
            raise UnsupportedGraphError(f"replace-classes: {layer.name} has groups")
        fresh = kaiming((self.classes, *rows.shape[1:]), weight.dtype, rng)
        arrays = {1: fresh.T if across else fresh, 2: np.zeros(self.classes, weight.dtype)}
        for index, array in arrays.items():
            if argument(layer, index) is not None:
                name = graph.new_name(f"{layer.inputs[index].name}.classes{self.classes}")
                set_input(layer, index, gs.Constant(name, np.ascontiguousarray(array)))
                report.initializers[name] = "fresh: random" if index == 1 else "fresh: zeros"
        report.rewrote[layer.name] = f"{len(rows)} -> {self.classes} outputs"
