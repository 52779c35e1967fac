"""``random`` and ``sample``: architectures of equal cost, drawn at random (FNA++ Sec. 5.5).

Each is cut out of the unsearched super network, so its weights are remapped from the seed as those
of a searched one are. ``random`` tunes some of them shortly, measures them on a part of the
training set that they were not trained on, and takes the best; ``sample`` takes the first.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from fnac.architectures.arch_file import arch_content, parse_arch
from fnac.architectures.budget import budget_costs
from fnac.architectures.random_choice import random_architecture
from fnac.config import as_json
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import cost_size

from .base import Candidate
from .differentiable import Differentiable

HELD_OUT = 0.2
"""Share of the training set that short tunings are judged on."""


class RandomSearch(Differentiable):
    """Tune random architectures of the budget's cost shortly; take the best of them."""

    name = "random"

    def choose(self) -> None:
        """Draw, tune shortly, measure, take the best."""
        run, how = self.run, self.run.plan.adapt
        if run.path("target.onnx").exists():
            return
        tried = []
        for number in range(how.tries):
            folder = run.path("search") / f"try{number}"
            if run.ranks.first:
                self._draw(number, folder)
            run.ranks.wait()
            tried.append((folder, self._score(folder)))
        if run.ranks.first:
            best = max(tried, key=lambda one: one[1])[0]
            self._take(best, tried)
        run.ranks.wait()

    def _draw(self, number: int, folder: Path) -> None:
        """Write ``arch.json`` and ``target.onnx`` of the random architecture ``number``."""
        from fnac.stages.derive import derive

        run = self.run
        if (folder / "target.onnx").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        network = run.path("super.onnx")
        manifest = Graph.load(network).manifest
        space = budget_costs(manifest, run.plan.adapt.budget_of, run.latencies())
        limit = space.greatest() if run.plan.budget is None else run.plan.budget.resolve(space)
        random_seed = run.plan.search.random_seed * 1000 + number
        arch = random_architecture(space, limit, random_seed=random_seed)
        at = folder.relative_to(run.folder).as_posix()
        run.kept.write(f"{at}/arch.json", as_json(arch_content(arch, space)))
        part = folder / "target.part.onnx"
        derive(network, part, run.plan.derive, arch=folder / "arch.json")
        run.kept.take(part, f"{at}/target.onnx")

    def _score(self, folder: Path) -> float:
        """Tune shortly; return the metric on the part of the training set held back, in percent."""
        run, done = self.run, folder / "score.json"
        if done.exists():
            return float(json.loads(done.read_text())["value"])
        short = dataclasses.replace(
            run.plan.tune,
            epochs=run.plan.adapt.short_epochs,
            steps=None,
            held_out=HELD_OUT,
            keep="best",
            patience=None,
            eval_every=run.plan.adapt.short_epochs,
            teacher=None,
        )
        at = f"search/{folder.name}"
        result = run.tune_file(f"{at}/target.onnx", f"{at}/tune", short, f"{at}/tuned.onnx")
        assert result.held is not None
        if run.ranks.first:
            said = as_json({"value": result.held, "epochs": short.epochs})
            run.kept.write(f"{at}/score.json", said)
        return result.held

    def _take(self, best: Path, tried: list[tuple[Path, float]]) -> None:
        rows = []
        for folder, score in tried:
            target = Graph.load(folder / "target.onnx")
            counted = profile(target, cost_size(target.manifest))
            choices = parse_arch(json.loads((folder / "arch.json").read_text())).choices
            rows.append(
                Candidate(
                    choices,
                    counted.madds,
                    counted.params,
                    score,
                    self.run.plan.adapt.short_epochs,
                    chosen=folder == best,
                )
            )
        self.record(rows)
        self.run.kept.write("arch.json", (best / "arch.json").read_bytes())
        part = self.run.path("target.part.onnx")
        shutil.copyfile(best / "target.onnx", part)
        self.run.kept.take(part, "target.onnx")


class Sample(RandomSearch):
    """Take the first random architecture of the budget's cost; nothing is selected."""

    name = "sample"

    def choose(self) -> None:
        """Draw one."""
        run = self.run
        if run.ranks.first and not run.path("target.onnx").exists():
            folder = run.path("search") / "try0"
            self._draw(0, folder)
            self._take(folder, [(folder, float("nan"))])
        run.ranks.wait()
