"""``uniform``: every block keeps the same share of its hidden channels, those of largest weight.

A control for ``measured``: the seed is tuned, narrowed and tuned on as there, at the same budget,
but nothing is measured and nothing is fitted. It is what uniform magnitude pruning gives.
"""

from __future__ import annotations

import bisect
from typing import Any

from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.remap.eliminate import width_on_grid
from fnac.passes.shrink.unfitted import first_channels, largest_channels
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import Shrinkable, open_shrinkable, with_interface_of

from .limit import Limit
from .measured import Measured

STEPS = 256
"""Shares that are tried: every 1/256 from a whole downwards."""


class Uniform(Measured):
    """Narrow the tuned seed to the largest common share that the budget admits."""

    name = "uniform"

    def shrunk(self, graph: Graph, limit: Limit, count: int) -> tuple[list[Graph], dict[str, Any]]:
        """Return the one network of the budget; no other was tried."""
        subject = open_shrinkable(graph, heads=False, manager=PassManager(verify=False))
        widths = common_widths(subject, limit, self.run.plan.shrink)
        small = with_interface_of(largest_channels(subject.graph, widths), graph)
        small.manifest["shrink"] = {"widths": widths}
        return [small], {"tried": []}


def common_widths(subject: Shrinkable, limit: Limit, settings: ShrinkSettings) -> dict[str, int]:
    """Return the widths of the largest share of all channels whose cost is within ``limit``.

    The smallest widths are returned where none is within it.
    """
    counts = {one.name: one.count for one in subject.sets}
    counted = None if limit.of == "latency" else subject.costs(list(counts), limit.of)

    def widths_at(step: int) -> dict[str, int]:
        share = max(step / STEPS, settings.least)
        return {n: width_on_grid(c, share, settings.multiple) for n, c in counts.items()}

    def above(step: int) -> bool:
        widths = widths_at(step)
        if counted is not None:
            return counted.of(list(widths.values())) > limit.amount
        return limit.cost(first_channels(subject.graph, widths)) > limit.amount

    largest = bisect.bisect_left(range(1, STEPS + 1), True, key=above)  # step that is not above
    return widths_at(max(1, largest))
