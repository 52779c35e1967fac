"""One adaptation in its folder: the stages as methods, each on files of the folder.

A stage is done when its file says so. One that was stopped goes on from its last checkpoint: a
folder that was just claimed has none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fnac.adaptation.calibrating import emit_images
from fnac.adaptation.folder import data_findings, limit_in_ms
from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.plan import Plan
from fnac.adaptation.result import AdaptResult
from fnac.adaptation.single_stages import compared_speed, expand_graph, unsearched_super
from fnac.config import as_json, write_json
from fnac.data.batches import size_of_shape
from fnac.data.preprocessing import preprocessing_findings, tell_assumed
from fnac.findings import FINDINGS, Finding, read_findings, together, written
from fnac.passes.graph import Graph
from fnac.passes.graph.graph import lies_in_one_file, manifest_of
from fnac.passes.stored_layers import read_layers
from fnac.ranks import Ranks
from fnac.stages.exporting.settings import is_model_file

if TYPE_CHECKING:
    from fnac.search.settings import SearchSettings
    from fnac.stages.evaluate import EvalResult
    from fnac.stages.tune import TuneResult
    from fnac.stages.tune_settings import TuneSettings
    from fnac.tasks.base import Task

log = logging.getLogger(__name__)

PARTS = {
    "prepare": "the seed and its head, expanded and proven",
    "choose": "the target's architecture, by strategy {strategy}",
    "baseline": "the seed's own architecture, tuned to compare with",
    "tune": "the target is fine-tuned",
    "emit": "the file to deploy",
    "eval": "its metric in onnxruntime",
}
"""Part of a run -> what is done in it."""
EACH = 2
"""Images of the best, of the middling and of the worst that are drawn."""
GIVEN = "given"
"""Folder of finished stages that another run of a study had in common with this one."""
TIMING_NOISE = 0.05
"""Share by which two timings of one file may differ on an idle machine."""
SHRUNK = 1.25
"""Times the seed's size from which on fnac warns that images are shrunk to it."""


class AdaptRun:
    """One adaptation in its folder; ``fnac.flow`` has the order of the stages."""

    def __init__(self, plan: Plan, folder: Path, ranks: Ranks) -> None:
        self.plan, self.folder, self.ranks = plan, folder, ranks
        self.kept = KeptFiles(folder)

    def task(self, network: str) -> Task:
        """Return the task for a network of the folder."""
        return self.plan.task_for(self.manifest(network))

    def manifest(self, network: str) -> dict[str, Any]:
        """Return the manifest of a network of the folder, without building its graph."""
        return manifest_of(self.path(network))

    def path(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.folder / name

    def take_given(self, name: str, *, alone: bool = False) -> bool:
        """Use a finished stage of another run as this run's file; False where none was given.

        alone  the first process calls it, the others do not
        """
        given = self.path(f"{GIVEN}/{name}")
        if not given.exists():
            return False
        if self.ranks.first:
            part = self.path(name).with_suffix(".part.onnx")
            shutil.copyfile(given, part)
            self.kept.take(part, name)
        if not alone:
            self.ranks.wait()
        return True

    def keep_given(self, files: Mapping[str, Path]) -> None:
        """Copy finished stages of other runs into the folder; the first process calls it."""
        self.path(GIVEN).mkdir(exist_ok=True)  # where it is, a run keeps what others may take
        for name, path in files.items():
            part = self.path(f"{GIVEN}/{name}.part")
            shutil.copyfile(path, part)
            self.kept.take(part, f"{GIVEN}/{name}")

    def seed(self) -> None:
        """Bring the seed into the run folder: copied, or exported by its name."""
        from fnac.stages.export import export_seed

        if self.path("seed.onnx").exists() or self.path("super.onnx").exists():
            return
        given = self.plan.export.seed
        part = self.path("seed.part.onnx")
        if not is_model_file(given):
            self.kept.take(export_seed(self.plan.export).save(part), "seed.onnx")
            return
        graph = Graph.load(given)
        expanded = graph.manifest.get("role") == "super"
        if lies_in_one_file(Path(given)):
            shutil.copyfile(given, part)
        else:
            graph.save(part)
        self.kept.take(part, "super.onnx" if expanded else "seed.onnx")

    def expand(self) -> None:
        """seed.onnx -> super.onnx; refuse an impossible budget."""
        from fnac.architectures.budget import beyond, budget_costs

        plan = self.plan
        if not self.path("super.onnx").exists() and not self.take_given("super.onnx", alone=True):
            seed = Graph.load(self.path("seed.onnx"))
            verify = not plan.adapt.no_verify
            graph, ledger = expand_graph(seed, plan.expand, on=plan, verify=verify)
            tell_assumed(graph.manifest)
            plan.task_for(graph.manifest).describe(graph.manifest)
            if plan.adapt.task == "seg":  # other tasks cut, fill up, or stretch on purpose
                self._warn_of_distortion(graph)
            self.kept.write("ledger.json", as_json(ledger))
            self.kept.take(graph.save(self.path("super.part.onnx")), "super.onnx")
            if self.path(GIVEN).exists():  # others of the study take it, before it is trained
                self.keep_given({"super.onnx": self.path("super.onnx")})
            log.info("expanded: %d layers to choose", len(read_layers(graph.manifest)))
        manifest = self.manifest("super.onnx")
        costs = budget_costs(manifest, plan.adapt.budget_of, self.latencies())
        if said := beyond(plan.budget, costs):
            log.warning("%s", said)

    def _warn_of_distortion(self, graph: Graph) -> None:
        """Warn when images will be distorted to the network's size, or shrunk a lot."""
        size = graph.image_size()
        if size is None:
            return
        height, width = self.plan.source.split("train")[0][0].shape[-2:]
        if abs(size[0] / size[1] / (height / width) - 1) > 0.1:
            better = size_of_shape((height, width), max(size))
            hint = "; --size {}x{} is nearer to theirs".format(*better) if better != size else ""
            log.warning(
                "images of %dx%d are squeezed to %dx%d, another shape%s",
                *(height, width, *size, hint),
            )
        elif self.plan.expand.size is None and height > SHRUNK * size[0]:
            log.warning(
                "images of %dx%d are shrunk to %dx%d, the seed's size; --size HxW takes another",
                *(height, width, *size),
            )

    def latencies(self) -> dict[str, Any] | None:
        """Return the table that a latency budget needs; latency.json of the run."""
        from fnac.architectures.latency import latency_table

        how, network = self.plan.adapt, self.path("super.onnx")
        table = latency_table(how.budget_of, how.latency_table, network, self.path("latency.json"))
        if self.ranks.first and self.path("latency.json").exists():
            self.kept.note("latency.json")
        return table

    def baseline_of_super(self) -> None:
        """super.onnx -> baseline.onnx: the seed's own candidates, before anything is trained."""
        from fnac.stages.derive import DeriveSettings, derive

        if not self.plan.adapt.baseline or self.path("baseline.onnx").exists():
            return
        part = self.path("baseline.part.onnx")
        derive(self.path("super.onnx"), part, DeriveSettings(verify=False), arch="seed")
        self.kept.take(part, "baseline.onnx")

    def tune_baseline(self, settings: TuneSettings) -> None:
        """baseline.onnx -> baseline.onnx, fine-tuned with the target's schedule."""
        if not self.plan.adapt.baseline:
            return
        if "tune" not in self.manifest("baseline.onnx"):
            self.take_given("baseline.onnx")
        if settings.teacher == "baseline":  # it cannot be its own
            settings = dataclasses.replace(settings, teacher=None)
        self._tune("baseline.onnx", "baseline", settings)

    def search(self, settings: SearchSettings | None = None) -> None:
        """super.onnx -> super.onnx, weights and alphas trained.

        settings  None: as the plan says
        """
        from fnac.architectures.budget import CostLimit
        from fnac.stages.search import search

        if "search" in self.manifest("super.onnx"):
            return
        part = self.path("super.part.onnx")
        if self.ranks.first:
            self.kept.forget("search")
        search(
            self.path("super.onnx"),
            self.plan.source,
            self.task("super.onnx"),
            part,
            self.path("search"),
            settings or self.plan.search,
            limit=CostLimit(self.plan.budget, self.latencies()),
            baseline=self._baseline(),
            resume=True,
        )
        if self.ranks.first:
            self.kept.take(part, "super.onnx")
            self.kept.note_logs("search")

    def derive(self, arch: Literal["seed"] | None = None) -> None:
        """super.onnx -> target.onnx and arch.json, within the budget; or the seed's own arch."""
        from fnac.architectures.budget import CostLimit
        from fnac.stages.derive import derive

        if self.path("target.onnx").exists():
            return
        settings = self.plan.derive
        derived = derive(
            self.path("super.onnx"),
            self.path("target.part.onnx"),
            settings,
            limit=CostLimit(self.plan.budget if arch is None else None, self.latencies()),
            arch=arch,
            arch_output=self.path("arch.json"),
            unsearched=None
            if settings.weights == "super"
            else unsearched_super(self.folder, self.plan),
        )
        self.kept.note("arch.json")
        self._add_to_ledger(derived.ledger)
        self.kept.take(self.path("target.part.onnx"), "target.onnx")

    def tune(self, settings: TuneSettings) -> None:
        """target.onnx -> target.onnx, fine-tuned."""
        self._tune("target.onnx", "tune", settings)

    def _baseline(self) -> Path | None:
        """Return the tuned seed; None where the run has none."""
        path = self.path("baseline.onnx")
        return path if path.exists() else None

    def _tune(self, network: str, folder: str, settings: TuneSettings) -> None:
        if "tune" not in self.manifest(network):
            settings = dataclasses.replace(settings, measure_start=True)
            self.tune_file(network, folder, settings, network)

    def tune_file(
        self, network: str, folder: str, settings: TuneSettings, output: str
    ) -> TuneResult:
        """Fine-tune a network of the folder; logs and checkpoints go to ``folder`` in it."""
        from fnac.stages.tune import tune

        part = self.path(output).with_suffix(".part.onnx")
        if self.ranks.first:
            self.kept.forget(folder)
        tuned = tune(
            self.path(network),
            self.plan.source,
            self.task(network),
            part,
            self.path(folder),
            settings,
            baseline=self._baseline(),
            resume=True,
        )
        if self.ranks.first:
            self.kept.take(part, output)
            self.kept.note_logs(folder)
        return tuned

    def emit(self) -> None:
        """target.onnx -> model.onnx, profile.json, profile.csv."""
        from fnac.stages.emit import emit

        if self.path("model.onnx").exists():
            return
        target, part = self.path("target.onnx"), self.path("model.part.onnx")
        settings = self.plan.emit
        graph = Graph.load(target)
        images = emit_images(graph, settings, self.plan)
        emitted = emit(
            target, part, settings, images=images, named="model.onnx", kit=False, loaded=graph
        )
        self._add_to_ledger([{**entry, "stage": "emit"} for entry in emitted.ledger])
        self.kept.take(part, "model.onnx")

    def evaluate(self) -> AdaptResult:
        """Measure model.onnx in onnxruntime; write results.json and the images."""
        measured = self._measure("model.onnx")
        manifest = self.manifest("target.onnx")
        findings = together(
            preprocessing_findings(manifest),
            data_findings(self.folder),
            read_findings(manifest),
            measured.findings,
            self._too_slow(self._kit(measured)),
        )
        baseline = None
        if self.plan.adapt.baseline:
            value = self._measure("baseline.onnx").value
            before = self._before_tuning("baseline.onnx")
            baseline = {"value": value, **self._costs("baseline.onnx"), **before}
        results: dict[str, Any] = {
            "metric": {"name": measured.metric, "value": measured.value},
            "seed": {"madds": manifest["seed_madds"], "params": manifest["seed_params"]},
            "baseline": baseline,
            "target": {
                **self._costs("target.onnx"),
                "images": measured.images,
                **self._chosen_input(),
                **self._before_tuning("target.onnx"),
            },
            "per_class": [{"name": n, "value": v} for n, v in measured.per_class.items()],
            "extra": dict(measured.extra),
            **measured.details,
            FINDINGS: written(findings),
        }
        write_json(self.path("results.json"), results)
        self._pictures()
        return AdaptResult(
            folder=self.folder,
            metric=measured.metric,
            value=measured.value,
            seed=results["seed"],
            baseline=baseline,
            target=results["target"],
            findings=findings,
            seconds=self._seconds(),
            per_class=measured.per_class,
        )

    def _chosen_input(self) -> dict[str, Any]:
        """Return size and output stride if they were searched."""
        path = self.path("search/input.json")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _before_tuning(self, network: str) -> dict[str, float]:
        """Return the metric that a network had before it was tuned, in torch, in percent."""
        before = self.manifest(network).get("tune", {}).get("before")
        return {} if before is None else {"before_tuning": before}

    def _measure(self, network: str) -> EvalResult:
        from fnac.stages.evaluate import Feeding, evaluate_onnx

        settings = self.plan.eval
        return evaluate_onnx(
            self.path(network),
            self.plan.source,
            self.task(network),
            settings.split,
            settings.size,
            feeding=Feeding(settings.batch_size, settings.limit),
        )

    def _costs(self, network: str) -> dict[str, int]:
        from fnac.passes.cost import profile
        from fnac.passes.graph.contract import cost_size

        graph = Graph.load(self.path(network))
        counted = profile(graph, cost_size(graph.manifest))
        return {"madds": counted.madds, "params": counted.params}

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Name a part of the run (``PARTS``), add the seconds that it takes to ``times.json``."""
        if self.ranks.first and (stage != "baseline" or self.plan.adapt.baseline):
            what = PARTS[stage].format(strategy=self.plan.adapt.strategy)
            log.info("%d of %d   %s: %s", list(PARTS).index(stage) + 1, len(PARTS), stage, what)
        began = time.perf_counter()
        try:
            yield
        finally:
            if self.ranks.first:
                seconds = self._seconds()
                seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - began, 2)
                self.kept.write("times.json", as_json(seconds))

    def _seconds(self) -> dict[str, float]:
        path = self.path("times.json")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _kit(self, result: EvalResult) -> float | None:
        """Write the deployment files beside model.onnx, with its metric in the model card.

        Returns its latency in milliseconds; None where it was not measured.
        """
        from fnac.passes.cost import profile
        from fnac.stages.deployment.kit import Costs, Measured, write_kit

        counted = profile(Graph.load(self.path("model.onnx")))
        data = self.plan.adapt.data or "built-in scenes"
        stated = Measured(result.metric, result.value, result.images, result.split, data)
        costs = Costs(counted.madds, counted.params)
        model, speed = self.path("model.onnx"), {}
        if self.plan.adapt.baseline:
            network = self.path("baseline.onnx")
            speed = compared_speed(model, network, self.plan.emit, self.plan)
        latency = speed.get("latency_ms")
        described = write_kit(model, costs, measured=stated, latency=latency)
        speed |= {key: described.get(key) for key in ("latency_ms", "latency_on")}
        write_json(self.path("speed.json"), {**speed, "size_bytes": model.stat().st_size})
        return described.get("latency_ms")

    def _too_slow(self, took: float | None) -> list[Finding]:
        """Return a finding if model.onnx was timed above a budget of latency."""
        asked = self._asked_ms()
        if asked is None or took is None or took <= asked * (1 + TIMING_NOISE):
            return []
        finding = Finding(
            "latency-above-budget",
            f"--budget {self.plan.adapt.budget}: model.onnx takes {took:.2f} ms for an image, "
            f"{asked:.2f} ms were asked for; ask for less, or run it where nothing else runs",
        )
        log.warning("%s", finding)
        return [finding]

    def _asked_ms(self) -> float | None:
        """Return a budget of latency in milliseconds; None for other budgets."""
        from fnac.architectures.budget import budget_costs

        budget = self.plan.budget
        if budget is None or budget.of != "latency":
            return None
        if (kept := limit_in_ms(self.folder)) is not None:
            return kept
        manifest = self.manifest("super.onnx")
        return budget.resolve(budget_costs(manifest, "latency", self.latencies())) / 1e6

    def _pictures(self) -> None:
        """Draw what the model does best, middling and worst on; say which image is which."""
        from fnac.stages.evaluate import Picked, extremes, predict_first

        how, model, task = self.plan.eval, self.path("model.onnx"), self.task("model.onnx")
        dataset = self.plan.source.split(how.split)
        groups = extremes(model, task, dataset, EACH, how.size)
        ranked = [(rank, one) for rank, group in groups.items() for one in group]
        picked = Picked(dataset, tuple(one.index for _, one in ranked))
        outputs, size = predict_first(model, task, picked, len(picked), how.size)
        manifest = self.manifest("model.onnx")
        files = task.pictures(picked, outputs, self.path("pictures"), size, manifest)
        told = {
            "metric": task.metric,
            "panels": task.panels,
            "legend": [{"name": name, "colour": colour} for name, colour in task.legend()],
            "images": [
                {"file": f.name, "id": dataset.id(one.index), "rank": rank, "value": one.value}
                for f, (rank, one) in zip(files, ranked, strict=True)
            ],
        }
        write_json(self.path("pictures/predictions.json"), told)

    def report(self) -> None:
        """Write report.html from what the folder holds."""
        from fnac.report import write_report

        write_report(self.folder)

    def _add_to_ledger(self, entries: list[dict[str, Any]]) -> None:
        path = self.path("ledger.json")
        kept = json.loads(path.read_text()) if path.exists() else []
        stages = {entry["stage"] for entry in entries}
        kept = [entry for entry in kept if entry.get("stage") not in stages]
        self.kept.write("ledger.json", as_json([*kept, *entries]))
