"""fnac in Python: the command line's stages on networks in memory, in six lines."""

from __future__ import annotations

from fnac.api.network import Network, load
from fnac.api.results import Evaluation, Run, Searched, Tuned
from fnac.api.stages import (
    adapt,
    derive,
    emit,
    evaluate,
    expand,
    predict,
    search_architecture,
    shrink,
    tune,
)

__all__ = [
    "Evaluation",
    "Network",
    "Run",
    "Searched",
    "Tuned",
    "adapt",
    "derive",
    "emit",
    "evaluate",
    "expand",
    "load",
    "predict",
    "search_architecture",
    "shrink",
    "tune",
]
