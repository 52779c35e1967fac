"""Each stage by itself, for the command line and the Python interface."""

from __future__ import annotations

from .emitting import compared_speed, run_emit
from .expanding import expand_graph, open_seed, prepare_graph, run_derive, unsearched_super
from .measuring import in_classes_of, run_eval
from .training import run_heal, run_search, run_tune, tuning

__all__ = [
    "compared_speed",
    "expand_graph",
    "in_classes_of",
    "open_seed",
    "prepare_graph",
    "run_derive",
    "run_emit",
    "run_eval",
    "run_heal",
    "run_search",
    "run_tune",
    "tuning",
    "unsearched_super",
]
