"""The only access to ONNX graphs: load, check, inspect, change, save."""

from __future__ import annotations

from .graph import Graph
from .inference import Inferred, Shape

__all__ = ["Graph", "Inferred", "Shape"]
