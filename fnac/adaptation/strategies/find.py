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
    "measured": "fine-tune the seed, then remove the hidden channels that affect its outputs least",
    "diff": "the paper's search: train weights and alphas of a super network alternately",
    "random": "briefly fine-tune some random architectures at the budget's cost, take the best",
    "sample": "take one random architecture at the budget's cost",
    "evolve": "train the super network on uniform paths, then breed architectures that it judges",
    "uniform": "fine-tune the seed, keep the same share of channels in every block: a control",
    "seed": "take the seed's own architecture: plain fine-tuning, head included",
}


def strategy_for(run: AdaptRun) -> Strategy:
    """Return the strategy of a run."""
    module, kind = STRATEGIES[run.plan.adapt.strategy].split(":")
    strategy: Strategy = getattr(importlib.import_module(f".{module}", __package__), kind)(run)
    return strategy
