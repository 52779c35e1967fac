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
from fnac.training.watchers import Watcher, watched_by

__all__ = [
    "Evaluation",
    "Network",
    "Run",
    "Searched",
    "Tuned",
    "Watcher",
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
    "watched_by",
]
