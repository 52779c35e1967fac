"""Strategies: how the target's architecture is chosen."""

from __future__ import annotations

from .base import Strategy
from .find import MEANINGS, STRATEGIES, strategy_for

__all__ = ["MEANINGS", "STRATEGIES", "Strategy", "strategy_for"]
