"""A found file becomes trainable: float32, channels first, BatchNorm restored."""
