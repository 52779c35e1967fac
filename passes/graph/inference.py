"""Shapes and element types of all tensors, inferred by ONNX from the nodes and small constants."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..errors import UnsupportedGraphError
from .layout import image_axes, with_size
from .model_checks import one_line
from .tensor_checks import element_type

IR_VERSION = 10  # onnxruntime 1.31 accepts at most 13 while onnx 1.23 stamps 14
STORED = 64  # elements; a float tensor of more is a weight, and no shape depends on its numbers

ONNX_ERRORS = (
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,  # the checker looks at nodes that are inferred one by one
    RuntimeError,
    ValueError,
)
"""What ONNX raises where it cannot infer a graph or a node."""

_PLACE = re.compile(r"\(op_type:(\w+), node name: ([^)]*)\): (?:\[\w+\] )?(.+)")

Shape = tuple[int | str | None, ...]


@dataclasses.dataclass(frozen=True)
class Inferred:
    """What is known about the tensors of a graph, by name.

    ``shapes``  a symbolic dimension is a str, an unknown one None
    ``types``   ONNX's element types (``onnx.TensorProto.FLOAT``, ...)
    """

    shapes: dict[str, Shape]
    types: dict[str, int]


def stored_tensors(graph: gs.Graph) -> Iterator[gs.Constant]:
    """Yield every stored tensor that a node reads once, in order of first use."""
    seen: set[int] = set()
    for node in graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def infer(
    graph: gs.Graph, size: Sequence[int | str] | None = None, batch: int | None = None
) -> Inferred:
    """Infer every tensor of a graph from its inputs; see :meth:`.Graph.infer`."""
    return read_inferred(graph, inferred_model(skeleton(graph, size, batch)))


def read_inferred(graph: gs.Graph, model: onnx.ModelProto) -> Inferred:
    """Return what ``model``, inferred from the graph, says; and what is stored."""
    body = model.graph
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    for value in [*body.input, *body.value_info, *body.output]:
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = _dims(value)
            types[value.name] = value.type.tensor_type.elem_type
    for constant in stored_tensors(graph):
        shapes[constant.name] = tuple(constant.shape)
        types[constant.name] = element_type(constant.dtype)
    return Inferred(shapes, types)


def inferred_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with all shapes; raises UnsupportedGraphError if ONNX cannot infer it."""
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except ONNX_ERRORS as error:
        raise UnsupportedGraphError(
            f"shapes cannot be inferred: {_in_words(error)}{_of_one_image(model)}"
        ) from error


def _in_words(error: BaseException) -> str:
    """Return ONNX's inference error with the node first; unchanged where it names none."""
    text = one_line(error)
    told = _PLACE.search(text)
    return f"{told[2]} ({told[1]}): {told[3]}" if told else text


def _of_one_image(model: onnx.ModelProto) -> str:
    """Name the Squeeze that probably removes the batch of one image; '' if there is none.

    Without axes it drops every side of 1: torch's ``squeeze()`` behind a global pooling.
    """
    firsts = {i.type.tensor_type.shape.dim[0].dim_value for i in model.graph.input if _sides(i)}
    for node in model.graph.node:
        axes = len(node.input) > 1 or any(a.name == "axes" for a in node.attribute)
        if node.op_type == "Squeeze" and not axes and 1 in firsts:
            return (
                f"; {node.name or node.output[0]} (Squeeze) names no axes: of one image it drops "
                "the batch as well; export the network with the axes that are meant (flatten(1) "
                "for squeeze() in torch)"
            )
    return ""


def _sides(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def is_weight(constant: gs.Constant) -> bool:
    """Say whether a stored tensor is one whose numbers no shape depends on."""
    return bool(np.prod(constant.shape) > STORED) and constant.dtype in (np.float32, np.float64)


def skeleton(
    graph: gs.Graph,
    size: Sequence[int | str] | None = None,
    batch: int | None = None,
    as_input: Callable[[gs.Constant], bool] = is_weight,
) -> onnx.ModelProto:
    """Return the model without its float weights, which become inputs; no stale shapes.

    size      (H, W) to give to the image inputs instead of what the file says; may be symbols
    batch     number to give to the first dimension of every input instead of what it says
    as_input  which stored tensors become inputs
    """
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter, dtype_to_onnx

    nodes = [OnnxExporter.export_node(node) for node in graph.nodes]
    inputs = []
    for tensor in graph.inputs:
        shape = None if tensor.shape is None else list(tensor.shape)
        if shape and batch is not None:
            shape[0] = batch
        axes = image_axes(tensor)
        if shape and size is not None and axes is not None:
            shape = with_size(shape, axes, size)
        inputs.append(
            onnx.helper.make_tensor_value_info(tensor.name, dtype_to_onnx(tensor.dtype), shape)
        )
    stored = []
    for constant in stored_tensors(graph):
        if as_input(constant):
            inputs.append(
                onnx.helper.make_tensor_value_info(
                    constant.name, dtype_to_onnx(constant.dtype), list(constant.shape)
                )
            )
        else:
            stored.append(OnnxExporter.export_tensor_proto(constant))
    outputs = []
    for output in graph.outputs:
        info = onnx.ValueInfoProto(name=output.name)
        if output.dtype is not None:
            info.type.tensor_type.elem_type = dtype_to_onnx(output.dtype)
        outputs.append(info)
    body = onnx.helper.make_graph(nodes, graph.name or "graph", inputs, outputs, initializer=stored)
    return onnx.helper.make_model(
        body, ir_version=IR_VERSION, opset_imports=list(_operator_sets(graph))
    )


def _operator_sets(graph: gs.Graph) -> Iterable[onnx.OperatorSetIdProto]:
    domains = {"": int(graph.opset)}
    for entry in graph.import_domains or []:
        domains.setdefault(entry.domain, entry.version)
    return (onnx.helper.make_opsetid(domain, version) for domain, version in domains.items())


def _dims(value: onnx.ValueInfoProto) -> Shape:
    return tuple(
        d.dim_value if d.HasField("dim_value") else (d.dim_param or None)
        for d in value.type.tensor_type.shape.dim
    )
