"""Create new nodes: each call adds one and returns its output."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_graphsurgeon as gs

from .graph import Graph


class NodeMaker:
    """Creates nodes that belong together; ``nodes`` holds them in order, not yet in the graph.

    prefix  what the names of nodes and tensors begin with
    part    the nodes' ``fnac.part``, if they have one
    """

    def __init__(self, graph: Graph, prefix: str, part: str | None = None) -> None:
        self.graph = graph
        self.prefix = prefix
        self.part = part
        self.nodes: list[gs.Node] = []

    def __call__(
        self, op: str, *inputs: gs.Tensor | np.ndarray, dtype: object = None, **attrs: object
    ) -> gs.Variable:
        """Add a node of one output, of ``dtype`` where it is known; arrays become constants."""
        return self.several(op, 1, *inputs, dtype=dtype, **attrs)[0]

    def several(
        self,
        op: str,
        count: int,
        *inputs: gs.Tensor | np.ndarray,
        dtype: object = None,
        **attrs: object,
    ) -> list[gs.Variable]:
        """Add a node of ``count`` outputs; return them."""
        name = self.graph.new_name(f"{self.prefix}.{op.lower()}")
        outputs = [
            gs.Variable(self.graph.new_name(f"{name}.out{i or ''}"), dtype) for i in range(count)
        ]
        node = new_node(op, name, [self._tensor(i, name) for i in inputs], outputs, attrs)
        if self.part is not None:
            node.metadata["fnac.part"] = self.part
        self.nodes.append(node)
        return outputs

    def _tensor(self, value: gs.Tensor | np.ndarray, owner: str) -> gs.Tensor:
        if isinstance(value, gs.Tensor):
            return value
        return gs.Constant(self.graph.new_name(f"{owner}.const"), np.ascontiguousarray(value))


def part_of_shape(make: NodeMaker, tensor: gs.Tensor, start: int, end: int) -> gs.Variable:
    """Return dimensions ``start`` up to ``end`` of a tensor, read while the network runs."""
    bounds = (np.array([value]) for value in (start, end, 0))
    return make("Slice", make("Shape", tensor, dtype=np.int64), *bounds, dtype=np.int64)


def resized_like(
    make: NodeMaker, tensor: gs.Tensor, like: gs.Tensor, roi: gs.Tensor | None = None
) -> list[gs.Tensor]:
    """Return the inputs of a Resize that gives ``tensor`` the height and width of ``like``.

    Both are (N, C, H, W); the sizes are read while the network runs, whatever they are. ``roi``
    goes through.
    """
    ends = part_of_shape(make, tensor, 0, 2), part_of_shape(make, like, 2, 4)
    sizes = make("Concat", *ends, axis=0, dtype=np.int64)
    return [tensor, gs.Variable.empty() if roi is None else roi, gs.Variable.empty(), sizes]


def new_node(
    op: str,
    name: str,
    inputs: Iterable[gs.Tensor],
    outputs: Iterable[gs.Tensor],
    attrs: dict[str, object] | None = None,
) -> gs.Node:
    """Make a node of this name, from tensors to tensors, not yet in the graph.

    It has the metadata that every node of a Graph has.
    """
    node = gs.Node(op, name, attrs or {}, list(inputs), list(outputs))
    node.metadata = {}
    return node
