"""Search spaces: the candidates of each kind of block, as data."""

from __future__ import annotations

from .space import Space, load_space, space_for, space_names

__all__ = ["Space", "load_space", "space_for", "space_names"]
