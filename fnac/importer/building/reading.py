"""Reading values: as constants, as Python numbers, as tensors; their sizes and types."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from fnac.passes.errors import UnsupportedGraphError

from ..runtime import layout
from .attributes import array_of, dtype_of
from .facts import Facts
from .scope import Scope
from .values import Constant, Host, Node, Value


class Reader:
    """Answers a converter's questions about the values of a node, in the current scope."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.scope = Scope()

    def static(self, value: Value | None) -> torch.Tensor | None:
        """Return the tensor of a constant, None for a value that is known only at run time."""
        return value.tensor if isinstance(value, Constant) else None

    def numbers(self, value: Value | None) -> list[Any] | fx.Node | None:
        """Return a vector as Python numbers (nodes among them), or as a node giving a list.

        None for an omitted input; a constant of more than one rank is flattened.
        """
        if value is None:
            return None
        if isinstance(value, Constant):
            return [_python(n) for n in array_of(value.tensor).reshape(-1)]
        if isinstance(value, Host):
            return list(value.items)
        return self.scope.graph.call_function(layout.to_list, (value,))

    def known(self, node: Node, index: int, what: str) -> list[Any] | None:
        """Return a vector that must be known at import time, None if it is omitted.

        Raises UnsupportedGraphError naming the node and ``what``.
        """
        value = node.input(index)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise UnsupportedGraphError(
                f"{node.label}: {what} are computed when the network runs; wanted constants; "
                "export the network with them fixed"
            )
        return [_python(n) for n in array_of(value.tensor).reshape(-1)]

    def tensor(self, value: Value | torch.Tensor) -> Any:
        """Return a value as a tensor argument of a call."""
        if not isinstance(value, Host):
            return value
        items: Any = value.items[0] if value.scalar else list(value.items)
        return self.scope.graph.call_function(
            layout.host_tensor, (items, value.dtype, self.reference())
        )

    def reference(self) -> fx.Node:
        """Return the tensor whose device new tensors use: the scope's first input."""
        if not self.scope.inputs:
            raise UnsupportedGraphError("the network has no inputs; wanted one image input")
        return self.scope.inputs[0]

    def size(self, value: Value, axis: int) -> Any:
        """Return a size of a tensor: an int, or a node that gives one."""
        if isinstance(value, Constant):
            return value.tensor.shape[axis]
        if isinstance(value, Host):
            return len(value.items)
        key = (value, axis)
        if key not in self.scope.shapes:
            self.scope.shapes[key] = self.scope.graph.call_method("size", (value, axis))
        return self.scope.shapes[key]

    def rank(self, node: Node, index: int = 0) -> int | None:
        """Return the rank of a node's input if it is known."""
        value = node.input(index)
        if isinstance(value, Constant):
            return value.tensor.ndim
        if isinstance(value, Host):
            return 0 if value.scalar else 1
        return self.facts.rank(node.tensors[index])

    def dtype(self, node: Node, index: int = 0) -> torch.dtype | None:
        """Return the element type of a node's input if it is known."""
        value = node.input(index)
        if isinstance(value, Constant):
            return value.tensor.dtype
        if isinstance(value, Host):
            return value.dtype
        elem_type = self.facts.elem_type(node.tensors[index])
        return dtype_of(elem_type, node.name) if elem_type else None


def _python(number: Any) -> Any:
    return number.item() if hasattr(number, "item") else number
