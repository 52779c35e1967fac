"""The ONNX version of exported seeds and heads, the same that the compiler writes."""

from __future__ import annotations

OPSET = 18
IR_VERSION = 10
