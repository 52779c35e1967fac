"""Strategies: how the target's architecture is chosen."""

from __future__ import annotations

from .base import Strategy
from .find import STRATEGIES, strategy_for

__all__ = ["STRATEGIES", "Strategy", "strategy_for"]
