"""Control flow that is decided at import, and what stands behind a network."""

from __future__ import annotations

from typing import Any

import onnx
import torch

from fnac.passes.errors import UnsupportedGraphError

from ..attributes import tensor_of
from ..builder import Builder
from ..registry import converter
from ..values import Constant, Node


@converter("If", 1)
def constant_if(builder: Builder, node: Node) -> Any:
    """If with a constant condition: the branch that holds, in place."""
    condition = builder.static(node.inputs[0])
    if condition is None:
        raise UnsupportedGraphError(
            f"{node.label}: its condition depends on the network's input; "
            "a constant condition is wanted; export the network without control flow"
        )
    branch: onnx.GraphProto = node.get("then_branch" if bool(condition) else "else_branch")
    for proto in branch.initializer:
        builder.scope.values[proto.name] = Constant(tensor_of(proto), proto.name)
    for inner in branch.node:
        builder.convert(inner)
    outputs: list[Any] = [builder.scope.values[o.name] for o in branch.output]
    return tuple(outputs)


@converter("NonMaxSuppression", 10)
def non_max_suppression(builder: Builder, node: Node) -> Any:
    """NonMaxSuppression behind a network; the limits must be constants."""
    from .. import boxes

    limit = builder.known(node, 2, "the number of boxes")
    overlap = builder.known(node, 3, "the overlap threshold")
    score = builder.known(node, 4, "the score threshold")
    return builder.call(
        boxes.non_max_suppression,
        node.inputs[0],
        node.inputs[1],
        int(limit[0]) if limit else 0,
        float(overlap[0]) if overlap else 0.0,
        float(score[0]) if score else None,
        bool(node.get("center_point_box", 0)),
    )


@converter("NonZero", 9)
def non_zero(builder: Builder, node: Node) -> Any:
    """NonZero: the indices, one column an element."""
    return builder.call(torch.t, builder.call(torch.nonzero, node.inputs[0]))
