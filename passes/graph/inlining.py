"""Local functions of a model become ordinary nodes."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx.inliner

from ..errors import UnsupportedGraphError
from .model_checks import one_line

MOST_NODES = 100_000
"""Nodes that a network may have once its functions are written out; large ones have 10,000."""


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with its local functions inlined; itself if it has none.

    Raises UnsupportedGraphError for functions that call themselves or do not fit.
    """
    if not model.functions:
        return model
    _check_size(model)
    try:
        flat = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise UnsupportedGraphError(
            f"the model's local functions cannot be inlined ({one_line(error)}); "
            "export the network again without functions"
        ) from error
    del flat.functions[:]  # what is left is called by nobody, or hides a standard operator
    return flat


def _check_size(model: onnx.ModelProto) -> None:
    """Raise UnsupportedGraphError if the functions, that may call each other, hold too much."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)

    for _ in functions:  # as often as calls can be nested
        before = dict(sizes)
        for key, function in functions.items():
            sizes[key] = min(size(function.node), MOST_NODES + 1)
        if sizes == before:
            break
    if size(model.graph.node) > MOST_NODES:
        raise UnsupportedGraphError(
            f"the model's local functions hold more than {MOST_NODES} nodes when each call is "
            "written out; export the network without functions"
        )
