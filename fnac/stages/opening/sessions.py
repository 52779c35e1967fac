"""An ONNX file in an onnxruntime session, on a device."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.graph.model_checks import one_line

logger = logging.getLogger(__name__)

SESSION_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel",
        "NoSuchFile", "NotImplemented", "RuntimeException",
    )
)  # fmt: skip
"""What onnxruntime raises for a file that it does not take."""


def open_session(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Load a file on ``device`` (auto, cuda, cpu), errors only in the log; threads 0 = its choice.

    Raises UnsupportedGraphError where onnxruntime refuses the file, UsageError for ``cuda``
    without a CUDA device; where CUDA then fails it runs on the CPU, and a warning says so once.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    providers: list[Any] = ["CPUExecutionProvider"]
    offered = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device != "cpu" and offered and _cuda_works():
        onnxruntime.preload_dlls()
        # TF32 would move logits by 1e-3; the number must be the same as on a CPU.
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    elif device == "cuda":
        raise UsageError("--device cuda: onnxruntime sees no CUDA device; wanted one, or cpu")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except SESSION_ERRORS as error:
        raise UnsupportedGraphError(
            f"{path}: onnxruntime cannot load it ({one_line(error)}); wanted an ONNX network"
        ) from error
    if len(providers) > len(session.get_providers()):
        logger.warning("onnxruntime could not use CUDA for %s: it runs on the CPU", path.name)
    return session


def _cuda_works() -> bool:
    """Say whether torch sees a CUDA device; without torch there are no CUDA libraries to load."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
