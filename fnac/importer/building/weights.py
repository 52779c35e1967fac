"""The weights of a network under import: one tensor for each, and its module path."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from fnac.passes.errors import UnsupportedGraphError

from .attributes import tensor_of
from .values import Constant


class Weights:
    """Who owns which weight.

    ``tensors``  ONNX tensor -> Parameter or buffer, one for each shared initializer
    ``places``   ONNX tensor -> path of that tensor in the finished module (the first one)
    ``parts``    ONNX tensor -> ``fnac.part`` of the first node that reads it
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.places: dict[str, str] = {}
        self.parts: dict[str, str] = {}

    def tensor(self, constant: Constant, part: str, *, parameter: bool) -> torch.Tensor:
        """Return a constant's Parameter or buffer, created on first use by a node of ``part``."""
        if constant.name not in self.tensors:
            tensor = constant.tensor.detach().clone()
            self.tensors[constant.name] = nn.Parameter(tensor) if parameter else tensor
        self.parts.setdefault(constant.name, part)
        return self.tensors[constant.name]

    def place(self, name: str, path: str) -> None:
        """Record the module path of a weight; the first one counts."""
        self.places.setdefault(name, path)


def initializers(graph: onnx.GraphProto) -> dict[str, Constant]:
    """Return a graph's stored tensors; floats are weights, except numbers of rank 0."""
    values: dict[str, Constant] = {}
    for proto in graph.initializer:
        try:
            tensor = tensor_of(proto)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UnsupportedGraphError(
                f"{proto.name}: its values cannot be read ({error}); the file is damaged; "
                "export the network again"
            ) from error
        weight = tensor.is_floating_point() and tensor.ndim > 0 and tensor.numel() > 0
        values[proto.name] = Constant(tensor, proto.name, trainable=weight, stored=True)
    for sparse in graph.sparse_initializer:
        raise UnsupportedGraphError(
            f"{sparse.values.name}: a sparse initializer; wanted dense weights; "
            "export the network without sparsity"
        )
    return values


def slot(part: nn.Module, attribute: str) -> torch.Tensor | None:
    """Return a module's own parameter or buffer."""
    return part._parameters.get(attribute, part._buffers.get(attribute))


def assign(part: nn.Module, attribute: str, tensor: torch.Tensor) -> None:
    """Replace a module's parameter or buffer by a tensor."""
    if attribute in part._parameters:
        wrapped = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
        part._parameters[attribute] = wrapped
    else:
        part._buffers[attribute] = tensor
