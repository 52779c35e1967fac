"""fnac: an ONNX-graph-level network adaptation compiler (FNA++).

>>> seed = fnac.load("mobilenetv2.onnx")
>>> net = fnac.expand(seed, task="seg", classes=19)
>>> run = fnac.adapt(net, data="cityscapes:/data/cityscapes", budget="0.9x")
>>> run.model.save("segmenter.onnx")
>>> print(run.metric, run.model.profile())

Importing this loads nothing heavy; the functions import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
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

if TYPE_CHECKING:
    from fnac.api import (
        Evaluation,
        Network,
        Run,
        Searched,
        Tuned,
        Watcher,
        adapt,
        derive,
        emit,
        evaluate,
        expand,
        load,
        predict,
        search_architecture,
        shrink,
        tune,
        watched_by,
    )


def __getattr__(name: str) -> Any:
    if name in __all__:
        from fnac import api

        return getattr(api, name)
    raise AttributeError(f"module 'fnac' has no attribute {name!r}")
