"""Turn a latency budget into one of MAdds, by timing networks with fewer channels.

Latency is no sum over layers, and no polynomial in widths: so it is measured, on this machine, for
the widths that the program chooses at one budget of MAdds after another, until the largest is found
that is quick enough. Weights do not matter for that; nothing is fitted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from fnac.architectures.budget import Budget
from fnac.architectures.latency import LatencySettings, time_graph
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.shapes.sized_shapes import shapes_at
from fnac.passes.shrink.unfitted import first_channels
from fnac.stages.shrinking.choice import Chooser

HALVINGS = 7
ROUNDS = 3  # budgets of MAdds that are tried until the network that is made is quick enough
TIGHTER = 0.98
TIMED = 40  # runs of each network that is timed
Timer = Callable[[Graph], float]


def in_ms(graph: Graph) -> float:
    """Return the latency of one image of the network's own size in ms; the median of TIMED runs."""
    timed = graph.copy()
    shapes = shapes_at(timed, timed.image_size())
    for tensor in timed.inputs:
        tensor.shape = list(shapes[tensor.name])
    return time_graph(timed, LatencySettings(runs=TIMED))


@dataclasses.dataclass(frozen=True)
class LatencyGoal:
    """A limit in milliseconds per image; ``timer`` returns the latency of a network."""

    text: str
    limit: float
    before: float
    timer: Timer

    @classmethod
    def of(cls, budget: Budget, graph: Graph, timer: Timer) -> LatencyGoal:
        """Read a latency budget: a share of the latency of ``graph``, or nanoseconds."""
        before = timer(graph)
        amount = float(budget.amount)
        limit = amount * before if budget.relative else amount / 1e6
        return cls(budget.text, limit, before, timer)

    def madds(self, chooser: Chooser, graph: Graph, total: int) -> int:
        """Return the largest MAdds budget that was found to meet it.

        graph  the network, in canonical form, of ``total`` MAdds

        Raises UsageError if not even the smallest network is quick enough.
        """
        names = [one.name for one in chooser.known]

        def latency(madds: int) -> float:
            choice = chooser.by_program(madds)
            assert choice is not None  # madds is within reach
            return self.timer(first_channels(graph, dict(zip(names, choice.widths, strict=True))))

        if self.before <= self.limit:
            return total
        quick, slow = chooser.least(), total
        least = latency(quick)
        if least > self.limit:
            raise UsageError(
                f"--budget {self.text}: that is {self.limit:.2f} ms; the quickest network that "
                f"can be reached takes {least:.2f} ms on this machine; ask for more"
            )
        for _ in range(HALVINGS):
            middle = round(math.sqrt(quick * slow))
            if latency(middle) <= self.limit:
                quick = middle
            else:
                slow = middle
        return quick

    def tighter(self, madds: int, took: float) -> int:
        """Return the next MAdds budget to try after a network that took too long."""
        return int(madds * TIGHTER * self.limit / took)
