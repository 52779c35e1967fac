"""Checks of nodes against their operator's definition, and of names for being text."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import AttributeProto
from onnx.defs import OpSchema

from ..errors import UnsupportedGraphError

POSITIVE = ("group", "strides", "dilations", "kernel_shape", "blocksize")
"""Attributes that count something of which there is at least one."""


def check_node(node: onnx.NodeProto, schema: OpSchema, label: str) -> None:
    """Raise UnsupportedGraphError unless ``node`` has the inputs and attributes of its operator.

    Attributes that the operator does not have are let through: old exporters write them.
    """
    single = OpSchema.FormalParameterOption.Single
    for side, given, formal, most in (
        ("input", node.input, schema.inputs, schema.max_input),
        ("output", node.output, schema.outputs, schema.max_output),
    ):
        if len(given) > most:
            raise UnsupportedGraphError(
                f"{label}: {len(given)} {side}s of {node.op_type}, which has {most}"
            )
        for index, parameter in enumerate(formal):
            if parameter.option == single and not (index < len(given) and given[index]):
                raise UnsupportedGraphError(
                    f"{label}: {side} {parameter.name} of {node.op_type} is missing"
                )
    if schema.min_input and not any(node.input):
        raise UnsupportedGraphError(f"{label}: {node.op_type} has no inputs; it needs some")
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if len(attributes) < len(node.attribute):
        raise UnsupportedGraphError(f"{label}: an attribute of {node.op_type} is there twice")
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise UnsupportedGraphError(
                f"{label}: attribute {attribute.name} refers to a function's, outside of one"
            )
    for name, definition in schema.attributes.items():
        if name not in attributes:
            if definition.required:
                raise UnsupportedGraphError(
                    f"{label}: attribute {name} of {node.op_type} is missing"
                )
            continue
        expected = str(definition.type).rpartition(".")[2]
        kinds = {v: k for k, v in AttributeProto.AttributeType.items()}
        kind = kinds.get(attributes[name].type, f"type {attributes[name].type}")
        if kind != expected and not (
            attributes[name].type == 0 and _holds(attributes[name], expected)
        ):
            raise UnsupportedGraphError(
                f"{label}: attribute {name} of {node.op_type} is of {kind}; wanted {expected}"
            )
        _check_positive(attributes[name], label)


def _check_positive(attribute: AttributeProto, label: str) -> None:
    """Raise UnsupportedGraphError for groups, strides or sides of windows below one."""
    numbers = [attribute.i] if attribute.type == AttributeProto.INT else list(attribute.ints)
    if attribute.name in POSITIVE and any(number < 1 for number in numbers):
        told = numbers[0] if attribute.type == AttributeProto.INT else numbers
        raise UnsupportedGraphError(f"{label}: attribute {attribute.name} is {told}; wanted >= 1")


def _holds(attribute: AttributeProto, kind: str) -> bool:
    """Say whether an attribute of IR version 1, which names no type, holds the type ``wanted``."""
    field = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g"}
    if kind in field:
        return bool(attribute.HasField(field[kind]))
    return True


def check_text(model: onnx.ModelProto) -> None:
    """Raise UnsupportedGraphError unless all names are UTF-8 text.

    protobuf hands over bytes that are not, or raises when they are read.
    """
    try:
        fine = all(isinstance(name, str) for name in _names(model))
        for attribute in _attributes(model.graph):
            attribute.s.decode()
    except UnicodeDecodeError:
        fine = False
    if not fine:
        raise UnsupportedGraphError(
            "a name in the model is not UTF-8 text; the file is damaged; export the network again"
        )


def _names(model: onnx.ModelProto) -> Iterator[object]:
    yield from (model.doc_string, model.producer_name)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for opset in model.opset_import:
        yield opset.domain
    yield from _graph_names(model.graph)


def _graph_names(graph: onnx.GraphProto) -> Iterator[object]:
    yield from (graph.name, graph.doc_string)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, node.doc_string)
        yield from node.input
        yield from node.output
        for entry in node.metadata_props:
            yield from (entry.key, entry.value)
        for attribute in node.attribute:
            yield attribute.name
            if attribute.HasField("g"):
                yield from _graph_names(attribute.g)
    for tensor in graph.initializer:
        yield tensor.name
    for value in [*graph.input, *graph.output, *graph.value_info]:
        yield value.name
        for dim in value.type.tensor_type.shape.dim:
            yield dim.dim_param


def _attributes(graph: onnx.GraphProto) -> Iterator[AttributeProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _attributes(attribute.g)
            elif attribute.HasField("s"):
                yield attribute
