"""One spelling for the mean of a whole map."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import ints, known, window
from ..shapes.sized_shapes import known_at

LEAST = 3
"""Sides from which a window as large as its map is no accident; 2x2 may be a halving."""


@dataclasses.dataclass(frozen=True)
class UnifyPooling(Pass):
    """Spell a mean over the whole map as GlobalAveragePool.

    Matches  AveragePool without padding whose stored window is as large as the map, 3x3 or more
             (TFLite's AVERAGE_POOL_2D, squeeze-excitations as optimizers write them). The stored
             window fits one image size; GlobalAveragePool fits any.
    Changes  it becomes GlobalAveragePool.
    Keeps    interface and outputs.
    """

    name: ClassVar[str] = "unify-pooling"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        pools = [node for node in graph.nodes if node.op == "AveragePool"]
        if not pools:
            return report
        shapes = known_at(graph).shapes
        for node in pools:
            sides = known(shapes.get(node.inputs[0].name, (None,))[2:])
            kernel = window(node)
            if kernel is None or sides is None or tuple(kernel) != sides or len(kernel) != 2:
                continue
            if any(ints(node, "pads", 0, 2 * len(kernel))) or not _is_explicit(node.attrs):
                report.note(node.name, Left("it pads the map that its window covers"))
            elif min(kernel) >= LEAST:
                node.op = "GlobalAveragePool"
                node.attrs.clear()
                report.note(node.name, Rewrote("the whole map is pooled"))
        return report


def _is_explicit(attrs: dict[str, object]) -> bool:
    return attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
