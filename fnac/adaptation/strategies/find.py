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
    "uniform": "uniform:Uniform",
    "seed": "seed_alone:SeedAlone",
}
"""Name -> module and class; a module is imported when its strategy is asked for."""
MEANINGS = {
    "measured": "tune the seed, then take away the hidden channels that its answers miss least",
    "diff": "the paper's search: weights and architecture parameters of a super network in turn",
    "random": "tune some random architectures of the budget's cost shortly, take the best",
    "sample": "take one random architecture of the budget's cost",
    "evolve": "train the super network on uniform paths, then breed architectures that it judges",
    "uniform": "tune the seed, leave every block the same share of channels: a control",
    "seed": "take the seed's own architecture: plain fine-tuning, head included",
}


def strategy_for(run: AdaptRun) -> Strategy:
    """Return the strategy of a run."""
    module, kind = STRATEGIES[run.plan.adapt.strategy].split(":")
    strategy: Strategy = getattr(importlib.import_module(f".{module}", __package__), kind)(run)
    return strategy
