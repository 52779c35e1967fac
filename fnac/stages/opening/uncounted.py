"""Warn of costs that a network has and no count states."""

from __future__ import annotations

import logging

from fnac.passes.cost import uncounted
from fnac.passes.graph import Graph

logger = logging.getLogger(__name__)


def tell_uncounted(graph: Graph) -> None:
    """Warn of nodes that hold products which a stage's costs leave out."""
    for note in uncounted(graph.nodes):
        logger.warning("costs: %s", note)
