"""Passes that make any file trainable: float32, channels first, BatchNorm restored."""
