"""The converters, by family; importing this registers all of them."""

from __future__ import annotations

from . import (
    activation,
    arithmetic,
    constant,
    convolution,
    linear,
    moving,
    normalization,
    pooling,
    reduction,
    resize,
    shape,
    structure,
)

__all__ = [
    "activation",
    "arithmetic",
    "constant",
    "convolution",
    "linear",
    "moving",
    "normalization",
    "pooling",
    "reduction",
    "resize",
    "shape",
    "structure",
]
