"""Decide whether a network fits a data set as it is, or needs a head first."""

from __future__ import annotations

from fnac.passes.graph import Graph
from fnac.stages.opening.task_head import OWN_RANK


def needs_head(graph: Graph, task: str, names: int) -> bool:
    """Say whether a network has no output for ``names`` classes (joints) of a data set.

    One that fnac gave a head has one, and so has a found network with a single output of the
    task's form: its shape is what the nodes give, whether the file declares it or not. An output
    whose shape stays unknown is no answer for this data set.
    """
    if graph.manifest.get("task") is not None:
        return False
    if task not in OWN_RANK or len(graph.outputs) != 1:
        return True
    inferred = graph.copy()
    inferred.refresh_shapes()
    shape = inferred.outputs[0].shape
    return shape is None or len(shape) != OWN_RANK[task] or shape[1] != names
