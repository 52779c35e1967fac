"""Copies of a GraphSurgeon graph that share nothing but weight arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_graphsurgeon as gs


def holds_graphs(graph: gs.Graph) -> bool:
    """Say whether a node holds a graph of its own (If, Loop, Scan)."""
    return any(isinstance(value, gs.Graph) for node in graph.nodes for value in node.attrs.values())


def twin_of(graph: gs.Graph) -> gs.Graph:
    """Return an independent copy of a graph whose nodes hold no graphs; weight arrays are shared.

    Nodes keep their ``metadata``.
    """
    tensors: dict[int, gs.Tensor] = {}

    def twin(tensor: gs.Tensor) -> gs.Tensor:
        if id(tensor) not in tensors:
            tensors[id(tensor)] = _copied(tensor)
        return tensors[id(tensor)]

    nodes = []
    for node in graph.nodes:
        copied = gs.Node(
            op=node.op,
            name=node.name,
            attrs=_attributes(node.attrs),
            inputs=[twin(t) for t in node.inputs],
            outputs=[twin(t) for t in node.outputs],
            domain=node.domain,
        )
        copied.metadata = dict(node.metadata)
        nodes.append(copied)
    return gs.Graph(
        nodes=nodes,
        inputs=[twin(t) for t in graph.inputs],
        outputs=[twin(t) for t in graph.outputs],
        name=graph.name,
        doc_string=graph.doc_string,
        opset=graph.opset,
        import_domains=list(graph.import_domains or []) or None,
    )


def _copied(tensor: gs.Tensor) -> gs.Tensor:
    if isinstance(tensor, gs.Constant):
        return gs.Constant(
            tensor.name,
            tensor._values,  # as it lies in the file, where it was not read yet
            data_location=tensor.data_location,
            export_dtype=tensor._export_dtype,
        )
    shape = None if tensor.shape is None else list(tensor.shape)
    return gs.Variable(tensor.name, tensor.dtype, shape, tensor.type)


def _attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, list) else v for k, v in attrs.items()}
