"""What can go wrong with networks, weights, spaces and recipes.

ModelError            2  a network, weights, a space or a recipe is not what was asked for
├── WeightsError      2  the weights cannot be downloaded, read or loaded into this network
├── SpaceError        2  a search space file cannot be read or contradicts itself
└── ExportError       2  a module contains something that cannot be written as ONNX

``models`` imports nothing from the rest of the project, so its errors are ValueErrors by
themselves. The product turns each into a UsageError that names the option: hence the exit code.
"""

from __future__ import annotations


class ModelError(ValueError):
    """A network, its weights, a search space or a recipe is not what was asked for."""


class WeightsError(ModelError):
    """The weights cannot be downloaded, read or loaded into this network."""


class SpaceError(ModelError):
    """A search space file cannot be read or contradicts itself."""


class ExportError(ModelError):
    """The module contains something that cannot be written as ONNX."""
