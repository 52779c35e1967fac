"""The door to ONNX graphs: load, check, look, change, save."""

from __future__ import annotations

from .graph import Graph
from .inference import Inferred, Shape

__all__ = ["Graph", "Inferred", "Shape"]
