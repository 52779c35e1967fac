"""One adaptation in its folder: the stages as methods."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.result import AdaptResult
from fnac.adaptation.settings import EvalSettings, adapt_settings, open_source, task_for
from fnac.adaptation.single_stages import emit_images, run_expand, unsearched_super
from fnac.config import Config, build, write_json
from fnac.data.preprocessing import preprocessing_findings
from fnac.findings import FINDINGS, read_findings, written
from fnac.passes.graph import Graph
from fnac.ranks import Ranks

if TYPE_CHECKING:
    from fnac.tasks.base import Task


from .plan import _is_file, with_answers

log = logging.getLogger(__name__)

PICTURES = 6


class AdaptRun:
    """One adaptation in its folder: the stages as methods, in the order of the file's words."""

    def __init__(
        self, folder: Path, config: Config, verify: bool, ranks: Ranks, resume: bool
    ) -> None:
        self.folder, self.config, self.verify = folder, with_answers(config), verify
        self.ranks, self.resume = ranks, resume
        self.settings = adapt_settings(config, "seg")
        self.source = open_source(self.settings)
        self.budget = self.settings.parsed_budget()

    def task(self, network: str) -> Task:
        """Return the task for a network of the folder."""
        manifest = Graph.load(self.path(network)).manifest
        return task_for(self.settings, self.source, self.config, manifest)

    def path(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.folder / name

    def _section(self, section: str) -> dict[str, Any]:
        values = dict(self.config.get(section, {}))
        if section == "expand":
            values["task"] = self.settings.task
            if values.get("classes") is None:
                values["classes"] = len(self.source.classes)
        return values

    def seed(self) -> None:
        """Bring the seed into the run folder."""
        from fnac.stages.export import export_seed
        from fnac.stages.exporting.settings import ExportSettings

        if self.path("seed.onnx").exists() or self.path("super.onnx").exists():
            return
        section = dict(self.config.get("export", {}))
        given = self.settings.seed or section.pop("seed", None) or "bundled"
        if _is_file(given):
            expanded = Graph.load(given).manifest.get("role") == "super"
            name = self.path("super.onnx" if expanded else "seed.onnx")
            part = name.with_suffix(".part")
            shutil.copyfile(given, part)
            os.replace(part, name)
            return
        section.pop("seed", None)
        export_seed(build(ExportSettings, {"seed": given, **section}, "export")).save(
            self.path("seed.onnx")
        )

    def expand(self) -> None:
        """seed.onnx -> super.onnx; refuse an impossible budget."""
        from fnac.architectures.budget import budget_costs
        from fnac.stages.expand import ExpandSettings

        if not self.path("super.onnx").exists():
            settings = build(ExpandSettings, self._section("expand"), "expand")
            graph, ledger = run_expand(
                self.path("seed.onnx"),
                settings,
                data=self.settings,
                verify=self.verify,
                count=self.settings.calibrate,
            )
            task_for(self.settings, self.source, self.config, graph.manifest).describe(
                graph.manifest
            )
            if self.settings.task == "seg":  # other tasks cut, fill up, or stretch on purpose
                self._warn_of_distortion(graph)
            write_json(self.path("ledger.json"), ledger)
            graph.save(self.path("super.onnx"))
            log.info("expanded: %d layers to choose", len(graph.manifest["layers"]))
        manifest = Graph.load(self.path("super.onnx")).manifest
        costs = budget_costs(manifest, self.settings.budget_of, self.latencies())
        if self.budget is not None:
            self.budget.resolve(costs)

    def _warn_of_distortion(self, graph: Graph) -> None:
        """Say so when pictures will be squeezed into the network's size."""
        size = graph.image_size()
        height, width = self.source.split("train")[0][0].shape[-2:]
        if size and abs(size[0] / size[1] / (height / width) - 1) > 0.1:
            log.warning(
                "pictures of %dx%d are resized to %dx%d, another shape; --size HxW sets it",
                height,
                width,
                *size,
            )

    def latencies(self) -> dict[str, Any] | None:
        """Return the table that a latency budget needs; latency.json of the run."""
        return self.settings.latencies(self.path("super.onnx"), self.path("latency.json"))

    def search(self) -> None:
        """super.onnx -> super.onnx, weights and alphas trained."""
        from fnac.search.settings import SearchSettings
        from fnac.stages.search import search

        if "search" in Graph.load(self.path("super.onnx")).manifest:
            return
        search(
            self.path("super.onnx"),
            self.source,
            self.task("super.onnx"),
            self.path("super.onnx"),
            self.path("search"),
            build(SearchSettings, self._section("search"), "search"),
            budget=self.budget,
            latency_table=self.latencies(),
            resume=self.resume,
        )

    def derive(self) -> None:
        """super.onnx -> target.onnx and arch.json, within the budget."""
        from fnac.stages.derive import DeriveSettings, derive

        if self.path("target.onnx").exists():
            return
        settings = build(DeriveSettings, self._section("derive"), "derive")
        found = derive(
            self.path("super.onnx"),
            self.path("target.part.onnx"),
            settings,
            budget=self.budget,
            arch_output=self.path("arch.json"),
            latency_table=self.latencies(),
            unsearched=unsearched_super(self.folder) if settings.weights == "seed" else None,
        )
        self._add_to_ledger(found.ledger)
        os.replace(self.path("target.part.onnx"), self.path("target.onnx"))

    def tune(self) -> None:
        """target.onnx -> target.onnx, fine-tuned."""
        from fnac.stages.tune import tune
        from fnac.stages.tune_settings import TuneSettings

        if "tune" in Graph.load(self.path("target.onnx")).manifest:
            return
        tune(
            self.path("target.onnx"),
            self.source,
            self.task("target.onnx"),
            self.path("target.onnx"),
            self.path("tune"),
            build(TuneSettings, self._section("tune"), "tune"),
            resume=self.resume,
        )

    def emit(self) -> None:
        """target.onnx -> model.onnx, profile.json, profile.csv."""
        from fnac.stages.emit import EmitSettings, emit

        if self.path("model.onnx").exists():
            return
        section = self._section("emit")
        if not self.verify:
            section["no_verify"] = True
        settings = build(EmitSettings, section, "emit")
        images = emit_images(
            self.path("target.onnx"), settings, self.source, self.task("target.onnx")
        )
        part = self.path("model.part.onnx")
        found = emit(self.path("target.onnx"), part, settings, images=images, named="model.onnx")
        self._add_to_ledger([{**entry, "stage": "emit"} for entry in found.ledger])
        os.replace(part, self.path("model.onnx"))

    def evaluate(self) -> AdaptResult:
        """Measure model.onnx in onnxruntime; write results.json and the pictures."""
        from fnac.passes.cost import profile
        from fnac.passes.graph.contract import cost_size
        from fnac.stages.evaluate import evaluate_onnx

        settings = build(EvalSettings, self._section("eval"), "eval")
        found = evaluate_onnx(
            self.path("model.onnx"),
            self.source,
            self.task("model.onnx"),
            settings.split,
            settings.size,
            batch_size=settings.batch_size,
            limit=settings.limit,
        )
        target = Graph.load(self.path("target.onnx"))
        manifest = target.manifest
        counted = profile(target, cost_size(manifest))
        findings = (*preprocessing_findings(manifest), *read_findings(manifest))
        key = found.metric.lower()
        results: dict[str, Any] = {
            "seed": {"madds": manifest["seed_madds"], "params": manifest["seed_params"]},
            "target": {
                key: found.value,
                "madds": counted.madds,
                "params": counted.params,
                "images": found.images,
            },
            "metric": found.metric,
            "per_class": [{"name": n, "value": v} for n, v in found.per_class.items()],
            "extra": dict(found.extra),
            FINDINGS: written(findings),
        }
        write_json(self.path("results.json"), results)
        self._pictures(settings)
        return AdaptResult(
            folder=self.folder,
            metric=found.metric,
            value=found.value,
            seed=results["seed"],
            target=results["target"],
            findings=findings,
        )

    def _pictures(self, settings: EvalSettings) -> None:
        from fnac.stages.evaluate import predict_first

        dataset, task = self.source.split(settings.split), self.task("model.onnx")
        model = self.path("model.onnx")
        outputs, size = predict_first(model, task, dataset, PICTURES, settings.size)
        manifest = Graph.load(model).manifest
        task.pictures(dataset, outputs, self.path("pictures"), size, manifest)

    def report(self) -> None:
        """Write report.html from what the folder holds."""
        from fnac.report import write_report

        write_report(self.folder)

    def _add_to_ledger(self, entries: list[dict[str, Any]]) -> None:
        path = self.path("ledger.json")
        kept = json.loads(path.read_text()) if path.exists() else []
        stages = {entry["stage"] for entry in entries}
        kept = [entry for entry in kept if entry.get("stage") not in stages]
        write_json(path, [*kept, *entries])
