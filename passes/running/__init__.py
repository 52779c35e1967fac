"""A graph in onnxruntime: sessions, limits, verification, calibration."""
