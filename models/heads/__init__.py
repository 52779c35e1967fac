"""Task heads, in torch and as ONNX to splice onto a backbone."""
