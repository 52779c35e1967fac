"""``diff``: the paper's search, weights and architecture parameters in turn (FNA++ Sec. 3.3)."""

from __future__ import annotations

import json

from fnac.architectures.arch_file import parse_arch
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import cost_size

from .base import Candidate, Strategy


class Differentiable(Strategy):
    """Train the super network, then take the most probable architecture within the budget."""

    name = "diff"

    def prepare(self) -> None:
        """Expand the seed; the seed's own candidates are the baseline."""
        self.run.expand()
        self.run.baseline_of_super()

    def choose(self) -> None:
        """Search, then derive."""
        self.run.search()
        if self.run.ranks.first:
            self.run.derive()
            self.record([self._chosen()])
        self.run.ranks.wait()

    def _chosen(self) -> Candidate:
        choices = parse_arch(json.loads(self.run.path("arch.json").read_text())).choices
        target = Graph.load(self.run.path("target.onnx"))
        counted = profile(target, cost_size(target.manifest))
        return Candidate(choices, counted.madds, counted.params, chosen=True)
