"""THE ORDER: what `fnac adapt` runs, one function a stage, each on files in the run folder.

    seed.onnx -> expand -> super.onnx -> search -> super.onnx (trained) -> derive -> target.onnx
    -> tune -> target.onnx (tuned) -> emit -> model.onnx -> eval -> results.json -> report.html

A stage is done when its file says so (the manifest names what was done to it), so a run that was
killed anywhere goes on from there; inside search and tune it goes on from the last checkpoint.
In a distributed run all processes search and tune; the first one does the rest.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation import (
    AdaptResult,
    AdaptSettings,
    EvalSettings,
    adapt_settings,
    open_source,
    task_for,
)
from fnac.config import Config, as_plain, build, read_yaml
from fnac.errors import DataError, UsageError
from fnac.passes.graph import Graph
from fnac.processes import Ranks, claim_for_all, is_first_rank
from fnac.runs import describe, kept_if_trained, write_json
from fnac.single_stages import emit_images, run_expand, unsearched_super

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task

DETECTOR_ANSWERS = {"iou", "score", "candidates", "detections"}
"""Settings that the torch side (section task) and the emitted file (section emit) share."""

log = logging.getLogger(__name__)

PICTURES = 6


def adapt(
    config: Config,
    *,
    given: Config | None = None,
    out: Path | None = None,
    resume: bool = False,
    verify: bool = True,
) -> AdaptResult | None:
    """Run every stage that is not done yet; None on all processes but the first.

    given  what the user set in so many words; a resumed run must not contradict it

    Raises UsageError for contradictions and impossible budgets before anything is trained; a run
    that fails before its first checkpoint leaves no folder.
    """
    resolved = resolve(config)
    name = str(resolved["adapt"]["task"])
    if not resume:
        _check_inputs(resolved)
    folder, ranks = claim_for_all(out, name, resume, resolved["search"]["device"])
    if resume:
        config = read_yaml(folder / "config.yaml")
        _refuse_changes(config, given or {}, folder)
    run = AdaptRun(folder, config, verify, ranks, resume)
    with kept_if_trained(folder, new=ranks.first and not resume):
        if ranks.first:
            log.info("run folder: %s", folder)
            if not resume:
                describe(folder, resolved)
            run.seed()
            run.expand()
        ranks.wait()
        run.search()
    if ranks.first:
        run.derive()
    ranks.wait()
    run.tune()
    if not ranks.first:
        ranks.wait()
        return None
    run.emit()
    result = run.evaluate()
    run.report()
    ranks.wait()
    return result


def with_answers(config: Config) -> Config:
    """Return the settings with one account of how a detector answers, in torch and in the file.

    What section ``task`` or ``emit`` says of overlap, score and counts holds for both, so that the
    metrics of the network and of the emitted file are of the same boxes. Raises UsageError where
    they differ.
    """
    task, emit = dict(config.get("task", {})), dict(config.get("emit", {}))
    for key in DETECTOR_ANSWERS & (task.keys() | emit.keys()):
        value = task.setdefault(key, emit.get(key))
        if emit.setdefault(key, value) != value:
            raise UsageError(
                f"emit.{key} {emit[key]:g}: task.{key} is {value:g}; set one of them, or both alike"
            )
    if config.get("adapt", {}).get("task") != "det":
        return config
    return {**config, "task": task, "emit": emit}


def resolve(config: Config) -> dict[str, dict[str, Any]]:
    """Build every stage's settings, so that a slip shows before anything runs, and return them.

    The classes of the head come from the data set where nothing says them.
    """
    from fnac.search.budget import check_lambda
    from fnac.search.settings import SearchSettings
    from fnac.stages.derive import DeriveSettings
    from fnac.stages.emit import EmitSettings
    from fnac.stages.expand import ExpandSettings
    from fnac.stages.export import ExportSettings
    from fnac.stages.tune import TuneSettings
    from fnac.tasks import task_settings

    kinds: dict[str, type[Any]] = {
        "adapt": AdaptSettings,
        "export": ExportSettings,
        "expand": ExpandSettings,
        "search": SearchSettings,
        "derive": DeriveSettings,
        "tune": TuneSettings,
        "emit": EmitSettings,
        "eval": EvalSettings,
    }
    unknown = [section for section in config if section not in (*kinds, "task")]
    if unknown:
        known = ", ".join((*kinds, "task"))
        raise UsageError(f"{unknown[0]}: adapt has no such section; it has: {known}")
    config = with_answers(config)
    settings = adapt_settings(config, "seg")
    check_lambda(settings.parsed_budget(), config.get("search", {}).get("lambda_"))
    sections = {section: dict(config.get(section, {})) for section in kinds}
    sections["expand"]["task"] = settings.task
    if sections["expand"].get("classes") is None:
        sections["expand"]["classes"] = len(open_source(settings).classes)
    resolved = {
        section: dataclasses.asdict(build(kind, sections[section], section))
        for section, kind in kinds.items()
    }
    resolved["task"] = dataclasses.asdict(task_settings(settings.task, config.get("task", {})))
    if resolved["task"].get("flip_test") and not resolved["emit"]["no_postprocess"]:
        raise UsageError(
            "task.flip_test: it averages heatmaps, and the emitted file would put out keypoints; "
            "add --set emit.no_postprocess=true, or leave flip_test to a later fnac eval"
        )
    return resolved


def _check_inputs(resolved: Config) -> None:
    """Look at the seed's file and at every file of the data before a folder is claimed."""
    given = resolved["adapt"]["seed"]
    if given and _is_file(given):
        Graph.load(given).check_finite()
    if is_first_rank():
        check_data(open_source(build(AdaptSettings, resolved["adapt"], "adapt")), resolved)


def check_data(source: DataSource, resolved: Config) -> None:
    """Look at every file, and that what is trained and measured on is there.

    Raises DataError for a broken file or a split that is missing or empty.
    """
    source.check()
    for split in ("train", str(resolved["eval"]["split"])):
        if not len(source.split(split)):
            raise DataError(f"{source.name}: split '{split}' is empty; it is needed; add samples")


def _refuse_changes(stored: Config, given: Config, folder: Path) -> None:
    """Raise UsageError if ``given`` says something else than the run was begun with."""
    merged = {s: {**stored.get(s, {}), **given.get(s, {})} for s in {**stored, **given}}
    begun, said = stored["adapt"]["task"], given.get("adapt", {}).get("task")
    if said not in (None, begun):
        raise UsageError(
            f"--resume: the task of {folder} is {begun}, {said} was given; leave it out, or begin "
            "a new run"
        )
    now, then = as_plain(resolve(merged)), as_plain(resolve(stored))
    for section, values in given.items():
        for key in values:
            if now[section][key] != then[section][key]:
                raise UsageError(
                    f"--resume: {section}.{key} is {then[section][key]!r} in {folder}, "
                    f"{now[section][key]!r} was given; leave it out, or begin a new run"
                )


def _is_file(seed: str) -> bool:
    return Path(seed).suffix == ".onnx" or Path(seed).is_file()


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
        from fnac.stages.export import ExportSettings, export_seed

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
        from fnac.search.budget import budget_costs
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
            graph.manifest["classes"] = list(self.source.classes)
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
        from fnac.stages.tune import TuneSettings, tune

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
        found = emit(self.path("target.onnx"), part, settings, images=images)
        self._add_to_ledger([{**entry, "stage": "emit"} for entry in found.ledger])
        os.replace(part, self.path("model.onnx"))

    def evaluate(self) -> AdaptResult:
        """Measure model.onnx in onnxruntime; write results.json and the pictures."""
        from fnac.passes.cost import profile
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
        counted = profile(target)
        manifest = target.manifest
        warnings = [
            *manifest.get("search", {}).get("warnings", []),
        ]
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
            "warnings": warnings,
        }
        write_json(self.path("results.json"), results)
        self._pictures(settings)
        return AdaptResult(
            folder=self.folder,
            metric=found.metric,
            value=found.value,
            seed=results["seed"],
            target=results["target"],
            warnings=tuple(warnings),
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
