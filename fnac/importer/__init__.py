"""ONNX -> torch: a graph becomes a module of ordinary torch.nn parts, and its weights go back."""

from __future__ import annotations

from .choice_module import ChoiceModule
from .importing import import_onnx
from .module import ImportedModule
from .writeback import unwrapped, write_back

__all__ = ["ChoiceModule", "ImportedModule", "import_onnx", "unwrapped", "write_back"]
