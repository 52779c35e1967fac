"""Put trained weights back into the ONNX model they came from."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from onnx import numpy_helper

from fnac.passes.errors import PassFailedError
from fnac.passes.graph.inlining import inlined
from fnac.passes.graph.stored_numbers import with_stored_casts

from .building.attributes import array_of, dtype_of
from .building.facts import nodes_of
from .module import ImportedModule


def write_back(module: torch.nn.Module, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of ``model`` with the module's parameters and statistics as its weights.

    Names, types and order of the initializers and everything else stay. A weight that the file
    computes (DequantizeLinear, Cast, Identity, ConstantOfShape) becomes an initializer of the same
    name in place of its node. ``module`` may be wrapped (DDP, Fabric, torch.compile).
    Raises PassFailedError if a weight has no place in the model or its shape changed.
    """
    source = unwrapped(module)
    result = onnx.ModelProto()
    result.CopyFrom(with_stored_casts(inlined(model)))
    graph = result.graph
    stored = {t.name: t for t in graph.initializer}
    stored.update(_constants(graph))
    makers = {name: node for node in graph.node for name in node.output if name}
    replaced: set[int] = set()
    weights = {name: source.get_tensor(name).detach() for name in source.parameter_names}
    for name in weights.keys() & stored.keys():
        _store(stored[name], weights[name])
    for name, tensor in weights.items():
        maker = makers.get(name)
        if name in stored or _copies(maker, weights, tensor):
            continue
        if maker is None or len([o for o in maker.output if o]) > 1:
            raise PassFailedError(
                f"{name}: a weight of the module that the model does not hold; "
                "give the model that was imported"
            )
        replaced.add(id(maker))
        graph.initializer.append(numpy_helper.from_array(array_of(tensor), name))
    if replaced:
        kept = [n for n in graph.node if id(n) not in replaced]
        read = {i for n in kept for i in n.input} | {o.name for o in graph.output}
        before = {i for n in graph.node for i in n.input}
        remaining = [t for t in graph.initializer if t.name in read or t.name not in before]
        _replace(graph.node, kept)
        _replace(graph.initializer, remaining)
    return result


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the tensors of Constant nodes by output name, inner graphs included."""
    constants: dict[str, onnx.TensorProto] = {}
    for node in nodes_of(graph):
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = attribute.t
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                constants.update({t.name: t for t in attribute.g.initializer})
    return constants


def unwrapped(module: torch.nn.Module) -> ImportedModule:
    """Return the imported module inside Fabric's, DDP's or torch.compile's wrapper."""
    inner: torch.nn.Module = module
    while not isinstance(inner, ImportedModule):
        for attribute in ("_orig_mod", "module", "_forward_module"):
            wrapped = inner._modules.get(attribute) or getattr(inner, attribute, None)
            if isinstance(wrapped, torch.nn.Module):
                inner = wrapped
                break
        else:
            raise TypeError(f"{type(module).__name__} holds no imported network")
    return inner


def _copies(
    maker: onnx.NodeProto | None, weights: Mapping[str, torch.Tensor], tensor: torch.Tensor
) -> bool:
    """Say whether an Identity still yields this weight (torch's exporter merges equal ones)."""
    if maker is None or maker.op_type != "Identity":
        return False
    original = weights.get(maker.input[0])
    return original is not None and torch.equal(original, tensor)


def _store(proto: onnx.TensorProto, tensor: torch.Tensor) -> None:
    if list(tensor.shape) != list(proto.dims):
        raise PassFailedError(
            f"{proto.name}: shape {list(tensor.shape)} in the module, {list(proto.dims)} in the "
            "model; give the model that was imported"
        )
    dtype = dtype_of(proto.data_type, proto.name)
    fresh = numpy_helper.from_array(array_of(tensor.to(dtype)))
    for field in ("float_data", "double_data", "int32_data", "external_data"):
        proto.ClearField(field)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        proto.ClearField("data_location")
    proto.raw_data = fresh.raw_data


def _replace(field: object, items: list[onnx.NodeProto] | list[onnx.TensorProto]) -> None:
    copies = [type(i)() for i in items]
    for copy, item in zip(copies, items):
        copy.CopyFrom(item)
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
