"""Control flow that is decided at import, and operators that follow a network."""

from __future__ import annotations

from typing import Any

import onnx
import torch

from fnac.passes.errors import UnsupportedGraphError

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..building.weights import initializers
from ..runtime import boxes


@converter("If", 1)
def constant_if(builder: Builder, node: Node) -> Any:
    """If with a constant condition: the branch that holds, in place."""
    condition = builder.static(node.inputs[0])
    if condition is None:
        raise UnsupportedGraphError(
            f"{node.label}: its condition depends on the network's input; "
            "wanted a constant condition; export the network without control flow"
        )
    branch: onnx.GraphProto = node.get("then_branch" if bool(condition) else "else_branch")
    builder.scope.values.update(initializers(branch))
    for inner in branch.node:
        builder.convert(inner)
    outputs: list[Any] = [builder.scope.values[o.name] for o in branch.output]
    return tuple(outputs)


@converter("NonMaxSuppression", 10)
def non_max_suppression(builder: Builder, node: Node) -> Any:
    """NonMaxSuppression after a network."""
    limit, overlap, score = (builder.numbers(node.input(i)) for i in (2, 3, 4))
    return builder.call(
        boxes.non_max_suppression,
        node.inputs[0],
        node.inputs[1],
        limit,
        overlap,
        score,
        bool(node.get("center_point_box", 0)),
    )


@converter("NonZero", 9)
def non_zero(builder: Builder, node: Node) -> Any:
    """NonZero: the indices, one column an element."""
    return builder.call(torch.t, builder.call(torch.nonzero, node.inputs[0]))
