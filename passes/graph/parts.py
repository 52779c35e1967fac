"""A part of a network as a separate model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from .graph import Graph
from .inference import IR_VERSION


def part_model(
    graph: Graph,
    nodes: Sequence[gs.Node],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Return a model of ``nodes`` of the graph, in their order, with the weights they read.

    inputs   tensors that are fed, by name, each with an array of its type and rank; sizes are open
    outputs  names of what it computes
    """
    stored = {
        tensor.name: tensor
        for node in nodes
        for tensor in node.inputs
        if isinstance(tensor, gs.Constant)
    }
    body = onnx.helper.make_graph(
        [OnnxExporter.export_node(node) for node in nodes],
        "part",
        [_fed(name, array) for name, array in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        initializer=[OnnxExporter.export_tensor_proto(tensor) for tensor in stored.values()],
    )
    domains = {entry.domain: entry.version for entry in graph.gs.import_domains or []}
    domains[""] = graph.opset
    imports = [onnx.helper.make_opsetid(name, version) for name, version in domains.items()]
    return onnx.helper.make_model(body, ir_version=IR_VERSION, opset_imports=imports)


def _fed(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim)
