"""``measured``: tune the seed, take away what its answers miss least, tune what is left.

The seed with its head is tuned for a share of the epochs. Widths for the budget are chosen by what
they do to its answers on images of the training set, and weights are fitted to its features
(``fnac shrink``). The smaller network and the seed's own architecture, where the budget admits it,
are then tuned shortly; the better one on a part of the training set held back is the target. Target
and baseline get the rest of the epochs, so that both were trained equally long.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.single_stages import prepare_graph
from fnac.architectures.arch_file import named_choices
from fnac.architectures.budget import Budget, say
from fnac.config import as_json, write_json
from fnac.errors import UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.remap.eliminate import width_on_grid
from fnac.stages.shrink import shrink
from fnac.stages.shrinking.shrinkable import open_shrinkable

from .base import Candidate, Strategy

if TYPE_CHECKING:
    from fnac.stages.tune_settings import TuneSettings

HELD_OUT = 0.2
"""Share of the training set that finalists are judged on."""
OWN, SMALLER = "seed", "smaller"


class Measured(Strategy):
    """Shrink the tuned seed to the budget; finalists decide whether that pays."""

    name = "measured"

    def prepare(self) -> None:
        """Give the seed its head; refuse a budget that no widths reach."""
        run = self.run
        if run.path("baseline.onnx").exists() or run.path("tuned_seed.onnx").exists():
            return
        if run.path("super.onnx").exists():
            raise UsageError("--strategy measured: the seed is a super network; give its seed")
        plan = run.plan
        graph, ledger = prepare_graph(
            Graph.load(run.path("seed.onnx")), plan.expand, on=plan, verify=not plan.adapt.no_verify
        )
        plan.task_for(graph.manifest).describe(graph.manifest)
        graph.manifest["role"] = "target"
        self._check_budget(graph)
        run.kept.write("ledger.json", as_json(ledger))
        run.kept.take(graph.save(run.path("baseline.part.onnx")), "baseline.onnx")

    def choose(self) -> None:
        """Tune the seed, shrink it, let the finalists decide."""
        run = self.run
        if run.path("target.onnx").exists():
            return
        if not run.path("tuned_seed.onnx").exists():
            settings = self._share(first=True)
            run.tune_file("baseline.onnx", "search/seed", settings, "tuned_seed.onnx")
        if run.ranks.first:
            run.path("search/finalists").mkdir(parents=True, exist_ok=True)
            self._finalists()
        run.ranks.wait()
        names = [p.stem for p in sorted(run.path("search/finalists").glob("*.onnx"))]
        scores = {name: self._score(name) for name in names} if len(names) > 1 else {names[0]: 0.0}
        if run.ranks.first:
            self._take(scores)
        run.ranks.wait()

    def tuning(self, settings: TuneSettings) -> TuneSettings:
        """Return the rest of the epochs: what the tuning of the seed has left."""
        return self._share(first=False)

    # ------------------------------------------------------------------ the parts

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

    def _limit(self, graph: Graph) -> tuple[int, int, str]:
        """Return the budget in numbers, the seed's cost, and their unit."""
        budget = self.run.plan.budget
        cost = profile(graph, graph.image_size())
        of = "madds" if budget is None else budget.of
        if of == "latency":
            raise UsageError(
                "--budget-of latency: --strategy measured counts madds or params; "
                "--strategy diff knows latencies"
            )
        total = cost.madds if of == "madds" else cost.params
        if budget is None:
            return total, total, of
        return int(budget.amount * total if budget.relative else budget.amount), total, of

    def _check_budget(self, graph: Graph) -> None:
        limit, total, of = self._limit(graph)
        if limit >= total:
            return
        subject = open_shrinkable(graph, heads=False, manager=PassManager(verify=False))
        how = self.run.plan.shrink
        least = [width_on_grid(one.count, how.least, how.multiple) for one in subject.sets]
        reach = subject.costs([one.name for one in subject.sets], of).of(least)
        if limit < reach:
            raise UsageError(
                f"--budget: that is {say(limit, of)} for the whole network, head included; the "
                f"least that --strategy measured can reach is {say(reach, of)}; ask for more, or "
                "take --strategy diff"
            )

    def _finalists(self) -> None:
        """Write the finalists that are not there yet."""
        from fnac.stages.opening.calibration import calibration_images

        run = self.run
        folder = run.path("search/finalists")
        tuned = Graph.load(run.path("tuned_seed.onnx"))
        limit, total, of = self._limit(tuned)
        if limit >= total:
            self._write(tuned, folder / f"{OWN}.onnx")
            return
        if (folder / f"{SMALLER}.onnx").exists():
            return
        how = run.plan.shrink
        size = tuned.image_size()
        assert size is not None  # expand states it
        task = run.plan.task_for(tuned.manifest)
        count = how.images + how.held_back
        images = calibration_images(run.plan.source, task, size, tuned.manifest, count=count)
        shrunk = shrink(tuned, images, Budget(f"{limit}", of, Fraction(limit), relative=False), how)
        write_json(run.path("search/shrink.json"), shrunk.as_json())
        self._write(shrunk.graph, folder / f"{SMALLER}.onnx")

    def _write(self, graph: Graph, path: Path) -> None:
        finalist = graph.copy()
        finalist.manifest.pop("tune", None)
        part = finalist.save(path.with_suffix(".part"))
        self.run.kept.take(part, path.relative_to(self.run.folder).as_posix())

    def _score(self, name: str) -> float:
        """Tune a finalist shortly; return its metric on the images held back, in percent."""
        run, folder = self.run, self.run.path("search/finalists")
        done = folder / f"{name}.json"
        if done.exists():
            return float(json.loads(done.read_text())["value"])
        epochs = run.plan.adapt.short_epochs
        short = dataclasses.replace(
            run.plan.tune, epochs=epochs, steps=None, held_out=HELD_OUT, keep="best",
            patience=None, eval_every=epochs, teacher=None,
        )  # fmt: skip
        network = f"search/finalists/{name}.onnx"
        tuned = f"search/finalists/{name}/tuned.onnx"
        result = run.tune_file(network, f"search/finalists/{name}", short, tuned)
        assert result.held is not None
        if run.ranks.first:
            said = as_json({"value": result.held, "epochs": epochs})
            run.kept.write(f"search/finalists/{name}.json", said)
        return result.held

    def _take(self, scores: dict[str, float]) -> None:
        run, folder = self.run, self.run.path("search/finalists")
        best = max(scores, key=scores.__getitem__)
        rows = []
        for name in scores:
            graph = Graph.load(folder / f"{name}.onnx")
            counted = profile(graph, graph.image_size())
            widths = graph.manifest.get("shrink", {}).get("widths", {})
            arch = tuple(f"{layer}={width}" for layer, width in widths.items()) or (OWN,)
            score = scores[name] if len(scores) > 1 else None
            rows.append(Candidate(arch, counted.madds, counted.params, score, chosen=name == best))
            if name == best:
                run.kept.write(
                    "arch.json", as_json(named_choices({k: f"c{w}" for k, w in widths.items()}))
                )
        self.record(rows)
        self._write(Graph.load(run.path("tuned_seed.onnx")), run.path("baseline.onnx"))
        part = run.path("target.part.onnx")
        shutil.copyfile(folder / f"{best}.onnx", part)
        run.kept.take(part, "target.onnx")
