"""Look at any ONNX file: blocks, costs, latency; no torch."""
