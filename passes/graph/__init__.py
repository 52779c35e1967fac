"""The door to ONNX graphs: load, check, look, change, save."""

from __future__ import annotations

from .graph import Graph, Shape

__all__ = ["Graph", "Shape"]
