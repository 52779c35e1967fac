"""What can go wrong with networks, weights, spaces and recipes.

The product turns a ModelError into its own usage error; alone, it is a ValueError.
"""

from __future__ import annotations


class ModelError(ValueError):
    """A network, its weights, a search space or a recipe is not what was asked for."""


class WeightsError(ModelError):
    """The weights cannot be had, read or put into this network."""


class SpaceError(ModelError):
    """A search space file cannot be read or contradicts itself."""
