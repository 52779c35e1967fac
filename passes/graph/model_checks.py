"""Checks of an ONNX model before it becomes a graph; each refusal is one sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto
from onnx.defs import OpSchema

from ..errors import UnsupportedGraphError
from .node_checks import check_node, check_text
from .tensor_checks import BITS, LARGEST_SIDE, check_tensor, stored_tensors, type_name

_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(r"/\S+\.(?:h|hpp|cc|cpp|cu):\d+ (?:[\w:~]+\([^)]*\)(?: const)? )?")
OPSETS = range(1, 28)


def check_model(model: onnx.ModelProto) -> None:
    """Raise UnsupportedGraphError, naming the node, unless fnac can hold ``model``.

    Looked at: a graph with outputs, a known operator set, known operators, no custom domains, every
    tensor computed once and before anybody asks for it somewhere, types and shapes that exist,
    stored tensors with as many numbers as their shape says.
    """
    if not model.HasField("graph") or not model.graph.node:
        raise UnsupportedGraphError(
            "the file holds no graph; it is empty, truncated or not an ONNX model"
        )
    check_text(model)
    opset = _opset(model)
    for sparse in model.graph.sparse_initializer:
        raise UnsupportedGraphError(
            f"{sparse.values.name}: a sparse initializer; wanted dense weights; "
            "export the network without sparsity"
        )
    for tensor in stored_tensors(model.graph):
        check_tensor(tensor)
    _check_interface(model.graph)
    _check_operators(model, opset)
    _check_names(model.graph)


def _opset(model: onnx.ModelProto) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for domain, version in versions.items():
        if not 0 <= version < 2**31:
            raise UnsupportedGraphError(
                f"operator set {version} of the domain {domain!r}; the file is damaged"
            )
    opset = versions.get("", versions.get("ai.onnx"))
    if opset != versions.get("ai.onnx", opset):
        raise UnsupportedGraphError(
            f"the model names two versions of the default operator set, {opset} and "
            f"{versions['ai.onnx']}; it must be one; export the network again"
        )
    if opset is None:
        raise UnsupportedGraphError("the model names no version of the default operator set")
    if opset not in OPSETS:
        raise UnsupportedGraphError(
            f"operator set {opset} was found; {OPSETS.start} to {OPSETS.stop - 1} are supported"
        )
    return int(opset)


def _check_interface(graph: onnx.GraphProto) -> None:
    if not graph.output:
        raise UnsupportedGraphError("the graph has no outputs")
    stored = {t.name for t in graph.initializer}
    for body in (graph, *_inner_graphs(graph)):
        _check_values(body)
    for value in graph.input:
        if value.name not in stored and not value.type.tensor_type.elem_type:
            raise UnsupportedGraphError(f"input {value.name!r} has no element type")


def _inner_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that nodes hold (If, Loop, Scan), and those inside of them."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from _inner_graphs(inner)


def _check_values(graph: onnx.GraphProto) -> None:
    for value in [*graph.input, *graph.output, *graph.value_info]:
        kind = value.type.WhichOneof("value")
        if kind not in ("tensor_type", None):
            raise UnsupportedGraphError(f"{value.name}: it is a {kind}; tensors are supported")
        element = value.type.tensor_type.elem_type
        if element not in (0, TensorProto.STRING) and element not in BITS:
            raise UnsupportedGraphError(
                f"{value.name}: {type_name(element)} values; float, double, half, bfloat16, "
                "integer and bool tensors are supported"
            )
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and not -1 <= dim.dim_value <= LARGEST_SIDE:
                raise UnsupportedGraphError(
                    f"{value.name}: a side of {dim.dim_value}; the file is damaged"
                )


def _check_operators(model: onnx.ModelProto, opset: int) -> None:
    """Refuse unknown operators: the first is named with its node, the others by operator."""
    local = {(f.domain, f.name) for f in model.functions}
    unknown: dict[str, str] = {}
    schemas: dict[str, OpSchema | None] = {}
    for node in model.graph.node:
        if (node.domain, node.op_type) in local:
            continue
        if node.domain not in ("", "ai.onnx"):
            unknown.setdefault(
                f"{node.domain}:{node.op_type}",
                f"{_label(node)}: operator {node.op_type} of the custom domain {node.domain!r}; "
                "only standard ONNX operators are supported",
            )
            continue
        if node.op_type not in schemas:
            schemas[node.op_type] = _schema(node.op_type, opset)
        schema = schemas[node.op_type]
        if schema is not None:
            check_node(node, schema, _label(node))
        else:
            unknown.setdefault(
                node.op_type,
                f"{_label(node)}: operator {node.op_type} is not in operator set {opset} of "
                "ONNX; replace it, or export the network with standard operators",
            )
    if unknown:
        rest = f" (unknown in all: {', '.join(sorted(unknown))})" if len(unknown) > 1 else ""
        raise UnsupportedGraphError(next(iter(unknown.values())) + rest)


def _check_names(graph: onnx.GraphProto) -> None:
    given = {t.name for t in graph.initializer}
    if len(given) < len(graph.initializer):
        raise UnsupportedGraphError(
            f"{_doubled(t.name for t in graph.initializer)}: two initializers have this name"
        )
    inputs = {v.name for v in graph.input}
    if len(inputs) < len(graph.input):
        raise UnsupportedGraphError(
            f"{_doubled(v.name for v in graph.input)}: two inputs have this name"
        )
    given |= inputs
    if "" in given:
        raise UnsupportedGraphError("an input or initializer has no name")
    written: set[str] = set()
    for node in graph.node:
        for name in node.output:
            if name and (name in written or name in given):
                raise UnsupportedGraphError(f"{_label(node)}: a second tensor named {name!r}")
            written.add(name)
    known = given | written
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise UnsupportedGraphError(
                    f"{_label(node)}: its input {name!r} is computed nowhere in the graph"
                )
    for output in graph.output:
        if output.name not in known or not output.name:
            raise UnsupportedGraphError(f"output {output.name!r} is computed nowhere in the graph")
    if len({o.name for o in graph.output}) < len(graph.output):
        raise UnsupportedGraphError(
            f"{_doubled(o.name for o in graph.output)}: two outputs have this name"
        )


def _doubled(names: Iterable[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _schema(op: str, opset: int) -> OpSchema | None:
    """Return an operator's definition in an operator set; None if it has none there."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    return schema if not schema.deprecated or schema.since_version < opset else None


def _label(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, 300 characters at most.

    Codes and places in the source of onnxruntime are left out; ``--debug`` shows them.
    """
    text = _CODE.sub("", " ".join(str(error).split()))
    text = _SOURCE.sub("", text)
    return text if len(text) <= 300 else text[:297] + "..."
