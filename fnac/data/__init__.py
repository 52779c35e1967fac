"""Data sets: readers, built-in scenes, transforms and the resumable loader."""

from __future__ import annotations

from .source import IGNORE, Dataset, DataSource
from .spec import open_data

__all__ = ["IGNORE", "DataSource", "Dataset", "open_data"]
