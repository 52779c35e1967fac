"""Clean a finished network: keep nothing in the file that the network does not need."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from ..base import Keeps, Pass, Report
from ..graph import Graph
from ..graph.operators import CONTROL_FLOW, DRAWS
from ..graph.surgery import set_input, set_outputs
from ..graph.tensor_checks import is_float

OURS = "fnac."  # prefix of the metadata keys that fnac writes on nodes
SMALL = 64  # integer constants up to this many elements are merged
# outputs that ONNX lets a node leave out; dropped when nothing reads them
OPTIONAL_FROM = {"BatchNormalization": 1, "Dropout": 1, "MaxPool": 1, "LayerNormalization": 1}


@dataclasses.dataclass(frozen=True)
class Clean(Pass):
    """Remove everything that no output needs, and the exporter's leftovers.

    Matches  1. nodes that no output depends on, 2. optional outputs that nothing reads, 3. equal
             stored numbers and small integer tensors (bounds of Clip, axes, shapes), 4. nodes that
             compute what an earlier one computes: the same operator, attributes and inputs,
             5. notes of exporters: documentation and metadata of nodes whose key is not fnac's.
    Changes  1, 2 and 5 are removed; 3 are stored and 4 computed once. Weights are never merged:
             equal ones may differ after training. Nodes are in execution order.
    Keeps    interface and outputs, bit-identical.
    """

    name: ClassVar[str] = "clean"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        names = {id(node): node.name for node in graph.nodes}
        graph.cleanup()
        alive = {id(node) for node in graph.nodes}
        for key, name in names.items():
            if key not in alive:
                report.rewrote[name] = "unused"
        _merge_constants(graph, report)
        _merge_nodes(graph, report)
        for node in graph.nodes:
            first = OPTIONAL_FROM.get(node.op, len(node.outputs))
            if node.attrs.get("training_mode", 0):
                first = len(node.outputs)  # BatchNormalization that trains has all its outputs
            unread = [t for t in node.outputs[first:] if not t.outputs and not graph.is_output(t)]
            if unread and len(unread) == len(node.outputs) - first:
                set_outputs(node, list(node.outputs)[:first])
                report.rewrote[node.name] = "unread outputs dropped"
            ours = {k: v for k, v in node.metadata.items() if k.startswith(OURS)}
            if ours != node.metadata:
                node.metadata = ours
                report.rewrote.setdefault(node.name, "exporter's notes dropped")
        if graph.drop_documentation():
            report.rewrote["graph"] = "exporter's notes dropped"
        return report


def _merge_constants(graph: Graph, report: Report) -> None:
    kept: dict[tuple[str, tuple[int, ...], bytes], gs.Constant] = {}
    for node in graph.nodes:
        for index, tensor in enumerate(node.inputs):
            if not isinstance(tensor, gs.Constant) or not _is_merged(tensor):
                continue
            values = tensor.values
            first = kept.setdefault((str(values.dtype), values.shape, values.tobytes()), tensor)
            if first is not tensor:
                set_input(node, index, first)
                report.rewrote[node.name] = "equal constants merged"


def _merge_nodes(graph: Graph, report: Report) -> None:
    """Let the readers of a node that repeats an earlier one read that one's results."""
    kept: dict[tuple[str, str, int, tuple[int | None, ...]], list[gs.Node]] = {}
    for node in list(graph.nodes):
        if node.op in (*DRAWS, *CONTROL_FLOW) or node.attrs.get("training_mode", 0):
            continue
        given = tuple(None if t.is_empty() else id(t) for t in node.inputs)
        alike = kept.setdefault((node.op, node.domain or "", len(node.outputs), given), [])
        first = next((one for one in alike if _attributes(one) == _attributes(node)), None)
        if first is None or any(graph.is_output(t) for t in node.outputs):
            alike.append(node)
            continue
        name = node.name
        for mine, theirs in zip(list(node.outputs), first.outputs, strict=True):
            graph.replace_uses(mine, theirs)
        report.rewrote[name] = f"computed once, by {first.name}"
    graph.cleanup()


def _attributes(node: gs.Node) -> dict[str, bytes]:
    attributes = OnnxExporter.export_node(node).attribute
    return {one.name: one.SerializeToString(deterministic=True) for one in attributes}


def _is_merged(tensor: gs.Constant) -> bool:
    # a one-element float of rank 1 or more may be a weight (a bias, a PRelu slope)
    if is_float(tensor.dtype):
        return len(tensor.shape) == 0
    return bool(np.prod(tensor.shape) <= SMALL) and np.dtype(tensor.dtype).kind in "iub"
