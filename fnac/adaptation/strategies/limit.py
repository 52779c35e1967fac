"""What a target without a super network may cost, and what a network costs, in one unit.

A budget of latency counts nanoseconds for one image of the network as it will be emitted, timed in
onnxruntime on this machine. It is measured once in a run, so that a resumed run keeps its limit.
"""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

from fnac.architectures.budget import Budget, say
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.remap.eliminate import width_on_grid
from fnac.passes.shrink.unfitted import first_channels
from fnac.stages.emit import EmitSettings, as_emitted
from fnac.stages.shrinking.milliseconds import in_ms
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import open_shrinkable


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a target may cost.

    of       madds, params or latency
    amount   the most that it may cost; nanoseconds for latency
    total    what the seed with its head costs
    emitted  how a network is emitted before it is timed
    """

    of: str
    amount: int
    total: int
    emitted: EmitSettings

    @classmethod
    def measure(cls, budget: Budget | None, graph: Graph, emitted: EmitSettings) -> Limit:
        """Return the limit that a budget sets for the seed ``graph``; without one, its own cost."""
        of = "madds" if budget is None else budget.of
        total = _cost(graph, of, emitted)
        if budget is None:
            return cls(of, total, total, emitted)
        amount = budget.amount * total if budget.relative else budget.amount
        return cls(of, int(amount), total, emitted)

    @classmethod
    def read(cls, path: Path, emitted: EmitSettings) -> Limit:
        """Read a limit in latency that ``as_json`` described."""
        kept = json.loads(path.read_text())
        return cls("latency", kept["limit_ns"], kept["seed_ns"], emitted)

    def as_json(self) -> dict[str, int]:
        """Return what ``search/limit.json`` holds of a limit in latency."""
        return {"seed_ns": self.total, "limit_ns": self.amount}

    def cost(self, graph: Graph) -> int:
        """Return what a network costs, in the unit of the limit."""
        return _cost(graph, self.of, self.emitted)

    def milliseconds(self, graph: Graph) -> float:
        """Return the latency of a network as it is emitted."""
        return in_ms(as_emitted(graph, self.emitted))

    def least(self, graph: Graph, how: ShrinkSettings) -> int:
        """Return the cost of the smallest widths; the whole network's if it is within."""
        whole = self.cost(graph)
        if whole <= self.amount:
            return whole
        subject = open_shrinkable(graph, heads=False, manager=PassManager(verify=False))
        least = {
            one.name: width_on_grid(one.count, how.least, how.multiple) for one in subject.sets
        }
        if self.of == "latency":
            return self.cost(first_channels(subject.graph, least))
        return subject.costs(list(least), self.of).of(list(least.values()))

    def budget(self) -> Budget:
        """Return the same limit as an absolute budget."""
        return Budget(self.say(self.amount), self.of, Fraction(self.amount), relative=False)

    def say(self, cost: int) -> str:
        """Format a cost for people."""
        return say(cost, "ns" if self.of == "latency" else self.of)


def _cost(graph: Graph, of: str, emitted: EmitSettings) -> int:
    if of == "latency":
        return round(1e6 * in_ms(as_emitted(graph, emitted)))
    counted = profile(graph, graph.image_size())
    return counted.madds if of == "madds" else counted.params
