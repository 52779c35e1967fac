"""``evolve``: evolution on the trained super network (as in once-for-all and SPOS).

The weights of the super network are trained on paths that are drawn uniformly. Then architectures
of the budget's cost are judged by these weights on the part of the training set that they were not
trained on, BatchNorm recalibrated for each; the better half of all so far has children, which
differ from their parents in a few layers or are mixed of two. The best few are finalists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

import numpy as np

from fnac.architectures.arch_file import arch_content
from fnac.architectures.budget import budget_costs
from fnac.architectures.costs import SpaceCosts, space_costs
from fnac.architectures.random_choice import nearest_architecture, random_architecture
from fnac.config import as_json
from fnac.passes.graph import Graph

from .base import Candidate
from .differentiable import Differentiable
from .halving import FINALISTS, Score, halve
from .path_judge import PathJudge

Arch = tuple[int, ...]
JUDGED = "search/evolution.json"
"""Architecture -> its metric by the super network's weights."""
MUTATED = 0.1
"""Share of the layers that a mutation draws anew."""


class Evolution(Differentiable):
    """Evolve architectures at the budget's cost; take the best of a few finalists."""

    name = "evolve"

    def choose(self) -> None:
        """Train the super network, evolve, let the finalists decide."""
        run = self.run
        if run.path("target.onnx").exists():
            return
        run.search(run.plan.search)
        if run.ranks.first:
            self._write_finalists(self._evolved())
        run.ranks.wait()
        names = sorted(p.stem for p in run.path(FINALISTS).glob("*.onnx"))
        scores = halve(run, names, lambda name: run.plan.tune)
        if run.ranks.first:
            self._take(next(iter(scores), names[0]), scores)
        run.ranks.wait()

    # ------------------------------------------------------------------ evolution

    def _evolved(self) -> list[Arch]:
        """Return the scored architectures, best first."""
        run, how = self.run, self.run.plan.adapt
        network = Graph.load(run.path("super.onnx"))
        space, limit = self._space(network)
        judged = self._judged()
        judge: PathJudge | None = None
        population: dict[Arch, float] = {}
        for generation in range(how.generations):
            generator = np.random.default_rng((run.plan.search.random_seed, generation))
            for arch in self._bred(population, space, limit, generator):
                if arch not in judged:
                    judge = judge or self._open_judge(network)
                    judged[arch] = judge.score(arch)
                    run.kept.write(JUDGED, as_json([[list(a), s] for a, s in judged.items()]))
                population[arch] = judged[arch]
        return sorted(population, key=lambda arch: -population[arch])

    def _space(self, network: Graph) -> tuple[SpaceCosts, int]:
        run = self.run
        space = budget_costs(network.manifest, run.plan.adapt.budget_of, run.latencies())
        budget = run.plan.budget
        return space, space.greatest() if budget is None else budget.resolve(space)

    def _open_judge(self, network: Graph) -> PathJudge:
        run = self.run
        task = run.task("super.onnx")
        return PathJudge(
            network, run.plan.source, task, run.plan.search, run.plan.adapt.judge_images
        )

    def _judged(self) -> dict[Arch, float]:
        path = self.run.path(JUDGED)
        rows = json.loads(path.read_text()) if path.exists() else []
        return {tuple(arch): float(score) for arch, score in rows}

    def _bred(
        self,
        population: dict[Arch, float],
        space: SpaceCosts,
        limit: int,
        generator: np.random.Generator,
    ) -> list[Arch]:
        """Return a generation: random architectures, then children of the better half."""
        size = self.run.plan.adapt.population
        if not population:
            seeds = generator.integers(2**31, size=size)
            first = [random_architecture(space, limit, random_seed=int(s)) for s in seeds]
            own = space.seed_arch()
            return [own, *first[1:]] if space.total(own) <= limit else first
        ranked = sorted(population, key=lambda arch: -population[arch])
        parents = ranked[: max(2, len(ranked) // 2)]
        children = []
        for number in range(size):
            a, b = (parents[int(i)] for i in generator.integers(len(parents), size=2))
            like = _mixed(a, b, generator) if number % 2 else _mutated(a, space, generator)
            child = nearest_architecture(space, limit, like, generator)
            if child not in population:
                children.append(child)
        return children

    # ------------------------------------------------------------------ the finalists

    def _write_finalists(self, ranked: Sequence[Arch]) -> None:
        """Derive the best architectures from the trained super network."""
        from fnac.stages.derive import derive

        run = self.run
        run.path(FINALISTS).mkdir(parents=True, exist_ok=True)
        space = space_costs(run.manifest("super.onnx"))
        for number, arch in enumerate(ranked[: run.plan.adapt.finalists]):
            at = f"{FINALISTS}/{number}"
            if run.path(f"{at}.onnx").exists():
                continue
            run.kept.write(f"{at}.json", as_json(arch_content(arch, space)))
            part = run.path(f"{at}.part")
            derive(
                run.path("super.onnx"), part, run.plan.derive, arch=run.path(f"{at}.json"),
                unsearched=self.unsearched(),
            )  # fmt: skip
            run.kept.take(part, f"{at}.onnx")

    def _take(self, best: str, scores: dict[str, Score]) -> None:
        run = self.run
        network = Graph.load(run.path("super.onnx"))
        madds, params = (space_costs(network.manifest, of) for of in ("madds", "params"))
        ranked = self._evolved()
        rows = []
        for place, arch in enumerate(ranked):
            score = scores.get(str(place))
            rows.append(
                Candidate(
                    madds.names(arch), madds.total(arch), params.total(arch),
                    score=score.value if score else self._judged()[arch],
                    epochs=score.epochs if score else 0, chosen=str(place) == best,
                )
            )  # fmt: skip
        self.record(rows)
        run.kept.write("arch.json", run.path(f"{FINALISTS}/{best}.json").read_bytes())
        part = run.path("target.part.onnx")
        shutil.copyfile(run.path(f"{FINALISTS}/{best}.onnx"), part)
        run.kept.take(part, "target.onnx")


def _mutated(arch: Arch, space: SpaceCosts, generator: np.random.Generator) -> Arch:
    """Return an architecture with a tenth of the layers, at least one, redrawn."""
    drawn = generator.random(len(arch)) < MUTATED
    drawn[int(generator.integers(len(arch)))] = True
    return tuple(
        int(generator.integers(len(layer.costs))) if new else choice
        for choice, new, layer in zip(arch, drawn, space.layers, strict=True)
    )


def _mixed(a: Arch, b: Arch, generator: np.random.Generator) -> Arch:
    """Return an architecture that takes each layer from one of two parents."""
    first = generator.random(len(a)) < 0.5
    return tuple(x if one else y for x, y, one in zip(a, b, first, strict=True))
