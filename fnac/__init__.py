"""fnac: an ONNX-graph-level network adaptation compiler (FNA++)."""

__version__ = "0.1.0"
