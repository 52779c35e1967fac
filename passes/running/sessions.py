"""Open a model in onnxruntime, also one that is too large for a single message."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ..graph.tensor_checks import BITS

if TYPE_CHECKING:
    import onnxruntime

LARGEST_MESSAGE = int(0.95 * 2**31)  # bytes; protobuf writes no more than 2 GB


def open_session(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    """Return a session on the CPU. A large ``model`` is written to a temporary folder first.

    Its weights are external data afterwards: such a model is used up. Raises what onnxruntime
    raises.
    """
    import onnxruntime as ort

    providers = ["CPUExecutionProvider"]
    if stored_bytes(model) < LARGEST_MESSAGE:
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location="weights")
        return ort.InferenceSession(str(path), options, providers=providers)


def stored_bytes(model: onnx.ModelProto) -> int:
    """Return how many bytes the stored tensors of a model have."""
    return sum(math.prod(t.dims) * BITS.get(t.data_type, 8) // 8 for t in model.graph.initializer)
