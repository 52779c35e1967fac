"""``diff``: the paper's search, weights and alphas trained alternately (FNA++ Sec. 3.3)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fnac.adaptation.single_stages import unsearched_super
from fnac.architectures.arch_file import load_arch, parse_arch
from fnac.architectures.costs import space_costs
from fnac.architectures.random_choice import random_architecture
from fnac.findings import FINDINGS, read_findings, together, written
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import cost_size
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.search.comparison import Comparison, compare
from fnac.search.health import softmax_rows

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
            self._judge()
        self.run.ranks.wait()

    def unsearched(self) -> Path | None:
        """Return the super network before training, unless the target takes trained weights."""
        how = self.run.plan.derive.weights
        return None if how == "super" else unsearched_super(self.run.folder)

    def _judge(self) -> None:
        """Record the choice and random architectures of its cost, judged by the trained weights."""
        run, count = self.run, self.run.plan.adapt.compared
        if run.path("search/candidates.csv").exists():
            return
        network = Graph.load(run.path("super.onnx"))
        space = space_costs(network.manifest)
        chosen = load_arch(run.path("arch.json"), space)
        limit, drawn = space.total(chosen), dict[tuple[int, ...], float]()
        own = 0.0
        if count:
            from .path_judge import PathJudge

            how, task = run.plan.adapt.judge_images, run.task("super.onnx")
            judge = PathJudge(network, run.plan.source, task, run.plan.search, how)
            own = judge.score(chosen)
            for number in range(count):
                arch = random_architecture(space, limit, random_seed=number)
                drawn[arch] = judge.score(arch)
        alphas = softmax_rows([np.asarray(p.alpha.values) for p in find_choice_points(network)])

        def predicted(arch: tuple[int, ...]) -> float:
            """Return the negative log probability."""
            return -float(sum(np.log(row[k]) for row, k in zip(alphas, arch, strict=True)))

        rows = [self._chosen()]
        params = space_costs(network.manifest, "params")
        for arch, score in drawn.items():
            rows.append(
                Candidate(
                    space.names(arch), space.total(arch), params.total(arch), score,
                    predicted=predicted(arch), random=True,
                )
            )  # fmt: skip
        if drawn:
            self._tell(
                compare(
                    [predicted(chosen), *map(predicted, drawn)],
                    [-own, *(-score for score in drawn.values())],
                    [False, *(True for _ in drawn)],
                    -own,
                )
            )
        self.record(rows)

    def _tell(self, comparison: Comparison) -> None:
        """Write the findings on the choice into the target's manifest."""
        findings = self.record_health(comparison)
        target = Graph.load(self.run.path("target.onnx"))
        target.manifest[FINDINGS] = written(together(read_findings(target.manifest), findings))
        part = target.save(self.run.path("target.part.onnx"))
        self.run.kept.take(part, "target.onnx")

    def _chosen(self) -> Candidate:
        choices = parse_arch(json.loads(self.run.path("arch.json").read_text())).choices
        target = Graph.load(self.run.path("target.onnx"))
        counted = profile(target, cost_size(target.manifest))
        return Candidate(choices, counted.madds, counted.params, chosen=True)
