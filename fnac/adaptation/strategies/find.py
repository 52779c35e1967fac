"""Strategies by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fnac.adaptation.adapt_run import AdaptRun

    from .base import Strategy

STRATEGIES = {
    "measured": "measured:Measured",
    "diff": "differentiable:Differentiable",
    "random": "random_search:RandomSearch",
    "sample": "random_search:Sample",
    "evolve": "evolution:Evolution",
    "seed": "seed_alone:SeedAlone",
}
"""Name -> module and class; a module is imported when its strategy is asked for."""


def strategy_for(run: AdaptRun) -> Strategy:
    """Return the strategy of a run."""
    module, kind = STRATEGIES[run.plan.adapt.strategy].split(":")
    strategy: Strategy = getattr(importlib.import_module(f".{module}", __package__), kind)(run)
    return strategy
