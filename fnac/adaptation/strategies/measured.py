"""``measured``: tune the seed, remove the channels that matter least, tune the rest.

The seed with its head is tuned for a share of the epochs. Widths for the budget are chosen by what
they do to its answers on images of the training set, and weights are fitted to its features
(``fnac shrink``), at every input size and output stride that is asked for. The best few of them and
the seed's own architecture, where the budget admits it, are then tuned briefly; the best one on a
part of the training set held back is the target. Target and baseline get the rest of the epochs, so
that both were trained equally long.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.folder import LIMIT
from fnac.adaptation.single_stages import prepare_graph
from fnac.architectures.arch_file import named_choices
from fnac.config import as_json
from fnac.errors import UsageError
from fnac.findings import FINDINGS, Finding, read_findings, together, written
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.search.comparison import compare
from fnac.stages.shrink import shrink_to_several
from fnac.stages.shrinking.result import Tried

from .base import Candidate, Strategy
from .halving import FINALISTS, Score, halve
from .inputs import (
    CHOSEN_INPUT,
    INPUTS,
    Input,
    are_choices,
    carry_weights,
    input_of,
    inputs_to_try,
    keep_reference,
)
from .limit import Limit

if TYPE_CHECKING:
    from fnac.stages.tune_settings import TuneSettings

log = logging.getLogger(__name__)

OWN = "seed"


class Measured(Strategy):
    """Shrink the tuned seed to the budget; finalists decide whether that is better."""

    name = "measured"

    def prepare(self) -> None:
        """Attach the head to the seed at every size; refuse a budget that no widths reach."""
        run = self.run
        if run.path("baseline.onnx").exists() or run.path("tuned_seed.onnx").exists():
            return
        if run.path("super.onnx").exists():
            raise UsageError("--strategy measured: the seed is a super network; give its seed")
        graph, ledger = self._prepared(None)
        limit = self._limit(graph)
        inputs = inputs_to_try(run.plan, graph)
        graphs = {
            one.name: graph if one == input_of(graph) else self._prepared(one)[0] for one in inputs
        }
        reached = self._within_reach(graphs, limit)
        run.path(INPUTS).mkdir(parents=True, exist_ok=True)
        for name in reached if are_choices(run.plan) else ():
            part = graphs[name].save(run.path(f"{INPUTS}/{name}.part.onnx"))
            run.kept.take(part, f"{INPUTS}/{name}.onnx")
        run.kept.write("ledger.json", as_json(ledger))
        run.kept.take(graph.save(run.path("baseline.part.onnx")), "baseline.onnx")

    def choose(self) -> None:
        """Tune the seed, shrink it, let the finalists decide."""
        run = self.run
        if run.path("target.onnx").exists():
            return
        if not run.path("tuned_seed.onnx").exists() and not run.take_given("tuned_seed.onnx"):
            settings = self._share(first=True)
            run.tune_file("baseline.onnx", "search/seed", settings, "tuned_seed.onnx")
        if run.ranks.first:
            run.path(FINALISTS).mkdir(parents=True, exist_ok=True)
            self._write_finalists()
        run.ranks.wait()
        names = self._names()
        scores = halve(run, names, self._tuning_of)
        if run.ranks.first:
            self._take(next(iter(scores), names[0]), scores)
        run.ranks.wait()

    def tuning(self, settings: TuneSettings) -> TuneSettings:
        """Return tuning settings for the epochs that the tuning of the seed has left."""
        return self._share(first=False)

    def tuning_of_target(self, settings: TuneSettings) -> TuneSettings:
        """Return the same settings at the target's own size."""
        return self._at(input_of(Graph.load(self.run.path("target.onnx"))), settings)

    # ------------------------------------------------------------------ before the choice

    def _prepared(self, choice: Input | None) -> tuple[Graph, list[dict[str, Any]]]:
        """Return the seed with its head for an input (None: as the plan says), and the ledger."""
        plan = self.run.plan
        expand = plan.expand if choice is None else choice.settings(plan.expand)
        graph, ledger = prepare_graph(
            Graph.load(self.run.path("seed.onnx")),
            expand,
            on=plan,
            verify=not plan.adapt.no_verify,
        )
        plan.task_for(graph.manifest).describe(graph.manifest)
        graph.manifest["role"] = "target"
        if choice is not None and input_of(graph) != choice:
            raise UsageError(
                f"--sizes, --output-strides: {choice.name} was asked for, the network with its "
                f"head is {input_of(graph).name}; leave it out"
            )
        return graph, ledger

    def _share(self, *, first: bool) -> TuneSettings:
        settings, share = self.run.plan.tune, self.run.plan.adapt.seed_share
        epochs = max(1, round(settings.epochs * share))
        part = dataclasses.replace(
            settings, epochs=epochs if first else max(1, settings.epochs - epochs)
        )
        if settings.steps is not None:
            steps = max(1, round(settings.steps * share))
            part = dataclasses.replace(part, steps=steps if first else settings.steps - steps)
        return dataclasses.replace(part, teacher=None) if first else part

    def _limit(self, graph: Graph) -> Limit:
        """Return what the target may cost; ``graph`` is the seed with its head."""
        plan, kept = self.run.plan, self.run.path(LIMIT)
        if kept.exists():
            return Limit.read(kept, plan.emit)
        limit = Limit.measure(plan.budget, graph, plan.emit)
        if limit.of == "latency":
            kept.parent.mkdir(exist_ok=True)
            self.run.kept.write(LIMIT, as_json(limit.as_json()))
            log.info(
                "the seed takes %s for an image on this machine, the budget is %s",
                limit.say(limit.total), limit.say(limit.amount),
            )  # fmt: skip
        return limit

    def _within_reach(self, graphs: dict[str, Graph], limit: Limit) -> list[str]:
        """Return the inputs at which some widths are within the budget; at least one."""
        how = self.run.plan.shrink
        least = {name: limit.least(graph, how) for name, graph in graphs.items()}
        reached = [name for name, cost in least.items() if cost <= limit.amount]
        if not reached:
            raise UsageError(
                f"--budget: that is {limit.say(limit.amount)} for the whole network, head "
                f"included; the least that --strategy {self.name} can reach is "
                f"{limit.say(min(least.values()))}; ask for more, or take --strategy diff"
            )
        for name in sorted(set(least) - set(reached)):
            log.warning(
                "%s: the lowest cost there is %s, above the budget of %s; this size is "
                "left out", name, limit.say(least[name]), limit.say(limit.amount),
            )  # fmt: skip
        return reached

    # ------------------------------------------------------------------ the finalists

    def _write_finalists(self) -> None:
        """Write the finalists of every input that are not there yet."""
        run = self.run
        tuned = Graph.load(run.path("tuned_seed.onnx"))
        base, limit = input_of(tuned), self._limit(tuned)
        inputs = {base.name: run.path("tuned_seed.onnx")}
        if are_choices(run.plan):
            inputs = {p.stem: p for p in sorted(run.path(INPUTS).glob("*.onnx"))}
        count = -(-run.plan.adapt.finalists // len(inputs))
        if limit.amount >= limit.total and base.name not in inputs:
            self._write_own(tuned, base)
        for name, path in inputs.items():
            if run.path(f"{FINALISTS}/{name}.json").exists():
                continue
            graph = tuned
            if name != base.name:
                graph = Graph.load(path)
                carry_weights(tuned, graph)
                keep_reference(tuned, graph)
            if limit.cost(graph) <= limit.amount:
                self._write_own(graph, input_of(graph))
                continue
            self._write_shrunk(graph, name, limit, count)

    def _write_own(self, graph: Graph, at: Input) -> None:
        name = f"{at.name}-{OWN}"
        self._write(graph, self.run.path(f"{FINALISTS}/{name}.onnx"))
        self.run.kept.write(f"{FINALISTS}/{at.name}.json", as_json({"names": [name], "tried": []}))

    def _write_shrunk(self, graph: Graph, at: str, limit: Limit, count: int) -> None:
        networks, account = self.shrunk(graph, limit, count)
        names = [f"{at}-{number}" for number in range(len(networks))]
        for name, network in zip(names, networks, strict=True):
            self._write(network, self.run.path(f"{FINALISTS}/{name}.onnx"))
        self.run.kept.write(f"{FINALISTS}/{at}.json", as_json({"names": names, **account}))

    def shrunk(self, graph: Graph, limit: Limit, count: int) -> tuple[list[Graph], dict[str, Any]]:
        """Return up to ``count`` networks within ``limit``, and an account of what was tried."""
        from fnac.stages.opening.calibration import calibration_images

        plan, size = self.run.plan, graph.image_size()
        assert size is not None  # expand states it
        how = plan.shrink
        images = calibration_images(
            plan.source, plan.task_for(graph.manifest), size, graph.manifest,
            count=how.images + how.held_back,
        )  # fmt: skip
        results = shrink_to_several(
            graph, images, limit.budget(), how,
            count=count, compared=plan.adapt.compared, timer=limit.milliseconds,
        )  # fmt: skip
        account = {
            "shrink": [one.as_json() for one in results],
            "tried": [dataclasses.asdict(one) for one in results[0].tried],
        }
        return [one.graph for one in results], account

    def _write(self, graph: Graph, path: Path) -> None:
        finalist = graph.copy()
        finalist.manifest.pop("tune", None)
        part = finalist.save(path.with_suffix(".part"))
        self.run.kept.take(part, path.relative_to(self.run.folder).as_posix())

    def _accounts(self) -> dict[str, dict[str, Any]]:
        """Return the considered choices, by the name of the input."""
        files = sorted(self.run.path(FINALISTS).glob("*.json"))
        return {path.stem: json.loads(path.read_text()) for path in files}

    def _names(self) -> list[str]:
        return [name for account in self._accounts().values() for name in account["names"]]

    def _tuning_of(self, name: str) -> TuneSettings:
        graph = Graph.load(self.run.path(f"{FINALISTS}/{name}.onnx"))
        return self._at(input_of(graph), self.run.plan.tune)

    def _at(self, chosen: Input, settings: TuneSettings) -> TuneSettings:
        if not are_choices(self.run.plan):
            return settings
        base = input_of(Graph.load(self.run.path("tuned_seed.onnx")))
        return chosen.tuning(settings, base)

    # ------------------------------------------------------------------ the target

    def _take(self, best: str, scores: dict[str, Score]) -> None:
        run, rows = self.run, list[Candidate]()
        for at, account in self._accounts().items():
            finalists = [self._candidate(name, at, best, scores) for name in account["names"]]
            known = {row.arch: Tried(**one) for one in account["tried"] for row in [_row(one, at)]}
            for row in finalists:
                tried = known.pop(row.arch, None)
                if tried is not None:
                    row = dataclasses.replace(row, predicted=tried.predicted, error=tried.error)
                rows.append(row)
            rows += [_row(dataclasses.asdict(one), at) for one in known.values()]
        self.record(rows)
        graph = Graph.load(run.path(f"{FINALISTS}/{best}.onnx"))
        widths = graph.manifest.get("shrink", {}).get("widths", {})
        arch = named_choices({name: f"c{width}" for name, width in widths.items()})
        run.kept.write("arch.json", as_json(arch))
        if are_choices(run.plan):
            run.kept.write(CHOSEN_INPUT, as_json(dataclasses.asdict(input_of(graph))))
            log.info("chosen: %s", best)
        self._write(Graph.load(run.path("tuned_seed.onnx")), run.path("baseline.onnx"))
        findings = self._health(input_of(graph).name, _arch(widths))
        graph.manifest[FINDINGS] = written(together(read_findings(graph.manifest), findings))
        run.kept.take(graph.save(run.path("target.part.onnx")), "target.onnx")

    def _health(self, at: str, arch: tuple[str, ...]) -> tuple[Finding, ...]:
        """Compare the choice with random widths at its input, by the error before tuning."""
        tried = [Tried(**one) for one in self._accounts()[at]["tried"]]
        chosen = next((one.error for one in tried if _arch(dict(one.widths)) == arch), None)
        if chosen is None:  # the seed's own, which is not one of many
            return ()
        comparison = compare(
            [one.predicted for one in tried],
            [one.error for one in tried],
            [one.random for one in tried],
            chosen,
        )
        return self.record_health(comparison)

    def _candidate(self, name: str, at: str, best: str, scores: dict[str, Score]) -> Candidate:
        graph = Graph.load(self.run.path(f"{FINALISTS}/{name}.onnx"))
        counted = profile(graph, graph.image_size())
        widths = graph.manifest.get("shrink", {}).get("widths", {})
        score = scores.get(name, Score(0.0, 0))
        return Candidate(
            arch=_arch(widths) or (OWN,), madds=counted.madds, params=counted.params,
            score=score.value if name in scores else None, epochs=score.epochs,
            chosen=name == best, input=at,
        )  # fmt: skip


def _arch(widths: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"{layer}={width}" for layer, width in widths.items())


def _row(tried: dict[str, Any], at: str) -> Candidate:
    return Candidate(
        arch=_arch(tried["widths"]), madds=tried["madds"], params=tried["params"], input=at,
        predicted=tried["predicted"], error=tried["error"], random=tried["random"],
    )  # fmt: skip
