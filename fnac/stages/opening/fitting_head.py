"""Decide whether a network fits a data set as it is, or needs a head first."""

from __future__ import annotations

from fnac.passes.graph import Graph

RANKS = {"seg": 4, "cls": 2, "pose": 4}
"""Task -> dimensions of the one output that its loss reads; a detector has a head of fnac's."""


def needs_head(graph: Graph, task: str, names: int) -> bool:
    """Say whether a network has no output for ``names`` classes (joints) of a data set.

    One that fnac gave a head has one, and so has a found network with a single output of the
    task's form. An output of unknown shape is no answer for this data set.
    """
    if graph.manifest.get("task") is not None:
        return False
    if task not in RANKS or len(graph.outputs) != 1:
        return True
    shape = graph.outputs[0].shape
    return shape is None or len(shape) != RANKS[task] or shape[1] != names
