"""The compiler: passes from ONNX to ONNX, their manager, verifier and costs. No torch."""
