"""What an ONNX tensor can be while a graph is imported.

``fx.Node``   computed when the module runs, a ``torch.Tensor``
``Constant``  known now; a weight when it is trainable
``Host``      a short vector of Python numbers, some known only when the module runs (shapes)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import fx

Number: TypeAlias = "int | float | bool | fx.Node"


@dataclasses.dataclass(eq=False)
class Constant:
    """A tensor that is known at import time.

    ``name``       the ONNX tensor it is the value of
    ``trainable``  a float weight: it becomes a Parameter wherever it computes
    ``recipe``     the node that computes it from trainable constants, None for a root
    ``stored``     an initializer of the file, as against a folded value or a Constant node
    """

    tensor: torch.Tensor
    name: str
    trainable: bool = False
    recipe: Node | None = None
    stored: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Host:
    """A tensor of rank 0 (``scalar``) or 1 held as Python numbers; at least one is a node."""

    items: tuple[Number, ...]
    scalar: bool
    dtype: torch.dtype


Value: TypeAlias = "fx.Node | Constant | Host"


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One ONNX node, decoded: what a converter sees.

    ``inputs`` are the values (None for an omitted one), ``tensors`` and ``outputs`` the names.
    """

    op: str
    domain: str
    version: int
    name: str
    inputs: tuple[Value | None, ...]
    tensors: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    part: str = ""

    def input(self, index: int) -> Value | None:
        """Return an input, None when it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def get(self, attribute: str, default: Any = None) -> Any:
        """Return an attribute's value."""
        return self.attributes.get(attribute, default)

    def wants(self, index: int) -> bool:
        """Say whether the node has this output."""
        return index < len(self.outputs) and bool(self.outputs[index])

    @property
    def label(self) -> str:
        """The node in messages: name and operator."""
        return f"{self.name} ({self.op})"
