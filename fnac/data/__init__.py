"""Data sets: readers, built-in scenes, transforms and the resumable loader.

Importing this loads nothing: settings of batches are read before torch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .source import IGNORE, Dataset, DataSource
    from .spec import open_data

__all__ = ["IGNORE", "DataSource", "Dataset", "open_data"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fnac.data' has no attribute {name!r}")
    from . import source, spec

    return spec.open_data if name == "open_data" else getattr(source, name)
