"""The ONNX that seeds and heads are exported as: the same that the compiler writes."""

from __future__ import annotations

OPSET = 18
IR_VERSION = 10
