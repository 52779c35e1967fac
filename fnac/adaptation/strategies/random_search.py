"""``random`` and ``sample``: architectures of equal cost, drawn at random (FNA++ Sec. 5.5).

Each is cut out of the unsearched super network, so its weights are remapped from the seed as those
of a searched one are. ``random`` tunes some of them shortly, measures them on a part of the
training set that they were not trained on, and takes the best; ``sample`` takes the first. Where
input sizes are choices, the tries go through them in turn, each at the cost of the same budget.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.single_stages import expand_graph
from fnac.architectures.arch_file import arch_content, parse_arch
from fnac.architectures.budget import budget_costs, say
from fnac.architectures.random_choice import random_architecture
from fnac.config import as_json
from fnac.errors import UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import cost_size
from fnac.passes.graph.graph import manifest_of

from .base import Candidate
from .differentiable import Differentiable
from .halving import short_tuning
from .inputs import (
    CHOSEN_INPUT,
    INPUTS,
    Input,
    are_choices,
    input_of,
    inputs_to_try,
    keep_reference,
)

if TYPE_CHECKING:
    from fnac.stages.tune_settings import TuneSettings

CHOSEN_INPUTS = "search/inputs.json"
"""The inputs at which the budget is within reach."""

log = logging.getLogger(__name__)


class RandomSearch(Differentiable):
    """Briefly tune random architectures at the budget's cost; take the best of them."""

    name = "random"

    def prepare(self) -> None:
        """Expand the seed at every given input; the seed is the baseline."""
        super().prepare()
        run = self.run
        if not are_choices(run.plan) or run.path(CHOSEN_INPUTS).exists():
            return
        run.path(INPUTS).mkdir(parents=True, exist_ok=True)
        network = Graph.load(run.path("super.onnx"))
        limit, base, left = self._limit(network), input_of(network), []
        for one in inputs_to_try(run.plan, network):
            path = run.path(f"{INPUTS}/{one.name}.onnx")
            if one != base and not path.exists():
                settings = one.settings(run.plan.expand)
                verify = not run.plan.adapt.no_verify
                seed = Graph.load(run.path("seed.onnx"))
                graph, _ = expand_graph(seed, settings, on=run.plan, verify=verify)
                keep_reference(network, graph)
                run.plan.task_for(graph.manifest).describe(graph.manifest)
                run.kept.take(graph.save(path.with_suffix(".part")), f"{INPUTS}/{path.name}")
            least = budget_costs(manifest_of(self._super(one.name, base)), "madds").least()
            if least <= limit:
                left.append(one.name)
                continue
            log.warning(
                "%s: the lowest cost there is %s, above the budget of %s; this size is "
                "left out", one.name, say(least, "madds"), say(limit, "madds"),
            )  # fmt: skip
        if not left:
            raise UsageError("--sizes: the budget is out of reach at every one of them")
        run.kept.write(CHOSEN_INPUTS, as_json({"inputs": left, "base": base.name}))

    def tuning_of_target(self, settings: TuneSettings) -> TuneSettings:
        """Return the same settings at the target's own size."""
        return self._at(self.run.path("target.onnx"), settings)

    def _at(self, network: Path, settings: TuneSettings) -> TuneSettings:
        if not are_choices(self.run.plan):
            return settings
        base = input_of(Graph.load(self.run.path("super.onnx")))
        return input_of(Graph.load(network)).tuning(settings, base)

    def _super(self, name: str, base: Input) -> Path:
        """Return the super network at an input."""
        at = "super.onnx" if name == base.name else f"{INPUTS}/{name}.onnx"
        return self.run.path(at)

    def _limit(self, network: Graph) -> int:
        """Return the budget in its unit; without one, the most expensive network's cost."""
        run = self.run
        space = budget_costs(network.manifest, run.plan.adapt.budget_of, run.latencies())
        return space.greatest() if run.plan.budget is None else run.plan.budget.resolve(space)

    def choose(self) -> None:
        """Draw, tune briefly, measure, take the best."""
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
        whole = Graph.load(network)
        limit = self._limit(whole)
        if are_choices(run.plan):
            names = json.loads(run.path(CHOSEN_INPUTS).read_text())["inputs"]
            network = self._super(names[number % len(names)], input_of(whole))
            whole = Graph.load(network)
        space = budget_costs(whole.manifest, run.plan.adapt.budget_of, run.latencies())
        random_seed = run.plan.search.random_seed * 1000 + number
        arch = random_architecture(space, limit, random_seed=random_seed)
        at = folder.relative_to(run.folder).as_posix()
        run.kept.write(f"{at}/arch.json", as_json(arch_content(arch, space)))
        part = folder / "target.part.onnx"
        settings = dataclasses.replace(run.plan.derive, weights="super")  # as it is tried
        derive(network, part, settings, arch=folder / "arch.json")
        run.kept.take(part, f"{at}/target.onnx")

    def _score(self, folder: Path) -> float:
        """Tune briefly; return the metric on the held-out part of the training set, in percent."""
        run, done = self.run, folder / "score.json"
        if done.exists():
            return float(json.loads(done.read_text())["value"])
        settings = self._at(folder / "target.onnx", run.plan.tune)
        short = short_tuning(settings, run.plan.adapt.short_epochs)
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
                    input=input_of(target).name,
                )
            )
        self.record(rows)
        self.run.kept.write("arch.json", (best / "arch.json").read_bytes())
        if are_choices(self.run.plan):
            chosen = input_of(Graph.load(best / "target.onnx"))
            self.run.kept.write(CHOSEN_INPUT, as_json(dataclasses.asdict(chosen)))
        part = self.run.path("target.part.onnx")
        self._remap(best, part)
        self.run.kept.take(part, "target.onnx")

    def _remap(self, best: Path, target: Path) -> None:
        """Write the best architecture with the target's initial weights."""
        from fnac.stages.derive import derive

        how = self.run.plan.derive
        if how.weights == "super":
            shutil.copyfile(best / "target.onnx", target)
            return
        derive(
            self.run.path("super.onnx"), target, how, arch=best / "arch.json",
            unsearched=self.unsearched(),
        )  # fmt: skip


class Sample(RandomSearch):
    """Take the first random architecture at the budget's cost, without selection."""

    name = "sample"

    def choose(self) -> None:
        """Draw one architecture."""
        run = self.run
        if run.ranks.first and not run.path("target.onnx").exists():
            folder = run.path("search") / "try0"
            self._draw(0, folder)
            self._take(folder, [(folder, float("nan"))])
        run.ranks.wait()
