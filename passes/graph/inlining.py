"""Local functions of a model become ordinary nodes."""

from __future__ import annotations

import onnx
import onnx.inliner

from ..errors import UnsupportedGraphError
from .model_checks import one_line


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with its local functions inlined; itself if it has none.

    Raises UnsupportedGraphError for functions that call themselves or do not fit.
    """
    if not model.functions:
        return model
    try:
        flat = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise UnsupportedGraphError(
            f"the model's local functions cannot be inlined ({one_line(error)}); "
            "export the network again without functions"
        ) from error
    del flat.functions[:]  # what is left is called by nobody, or hides a standard operator
    return flat
