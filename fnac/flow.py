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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac import runs
from fnac.config import Config, build, read_yaml
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager

if TYPE_CHECKING:
    import numpy as np

    from fnac.data.source import DataSource
    from fnac.search.budget import Budget
    from fnac.stages.evaluate import EvalResult
    from fnac.stages.expand import ExpandSettings
    from fnac.tasks.base import Task

log = logging.getLogger(__name__)

SECTIONS = ("adapt", "export", "expand", "search", "derive", "tune", "emit", "eval")
PICTURES = 6


@dataclasses.dataclass(frozen=True)
class AdaptSettings:
    """What is adapted to what.

    seed       an ONNX file, or the name of a seed; default: the bundled one
    task       seg (det, pose and cls follow)
    data       SPEC of the data set; default: built-in scenes
    budget     of the whole network, head included; default: the cost of the seed with this head
    budget_of  what the budget counts: madds, params or latency
    recipe     the recipe's name, for the record
    calibrate  pictures that restored BN is calibrated on
    """

    seed: str | None = None
    task: str = "seg"
    data: str | None = None
    budget: str | None = None
    budget_of: str = "madds"
    recipe: str | None = None
    calibrate: int = 200

    def __post_init__(self) -> None:
        if self.task != "seg":
            raise UsageError(f"--task {self.task}: this version adapts to seg only")

    def parsed_budget(self) -> Budget | None:
        """Return the budget; None means the seed's own cost."""
        from fnac.search.budget import parse_budget

        return parse_budget(self.budget, self.budget_of) if self.budget else None


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """What is measured.

    split       of the data set
    size        (H, W) of the images; default: the network's
    limit       use the first so many pictures only
    batch_size  pictures at once
    """

    split: str = "val"
    size: tuple[int, int] | None = None
    limit: int | None = None
    batch_size: int = 1


@dataclasses.dataclass(frozen=True)
class AdaptResult:
    """Outcome of an adaptation; costs are exact MAdds and parameters of the whole network."""

    folder: Path
    metric: str
    value: float
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac adapt --json`` prints."""
        return {
            "run": str(self.folder),
            "model": str(self.folder / "model.onnx"),
            "metric": self.metric,
            "value": self.value,
            "seed": dict(self.seed),
            "target": dict(self.target),
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """Return what ``fnac adapt`` prints at its end."""
        from fnac.report.text import MADDS_NOTE, human

        share = self.target["madds"] / self.seed["madds"]
        lines = [
            f"{self.metric}  {self.value:.2f}  (model.onnx in onnxruntime, "
            f"{self.target['images']} images)",
            f"seed    {human(self.seed['madds'])} MAdds, {human(self.seed['params'])} params",
            f"target  {human(self.target['madds'])} MAdds ({share:.1%} of the seed), "
            f"{human(self.target['params'])} params   [{MADDS_NOTE}]",
            *(f"note    {warning}" for warning in self.warnings),
            f"run     {self.folder}   (open report.html)",
        ]
        return "\n".join(lines)


# ---------------------------------------------------------------------- the stages, as commands


def run_expand(
    model: Path,
    settings: ExpandSettings,
    *,
    data: str | None = None,
    verify: bool = True,
    dump: Path | None = None,
    count: int = 200,
) -> tuple[Graph, list[dict[str, Any]]]:
    """Expand the file ``model``; see :func:`expand_graph`."""
    return expand_graph(
        Graph.load(model), settings, data=data, verify=verify, dump=dump, count=count
    )


def expand_graph(
    graph: Graph,
    settings: ExpandSettings,
    *,
    data: str | None = None,
    verify: bool = True,
    dump: Path | None = None,
    count: int = 200,
) -> tuple[Graph, list[dict[str, Any]]]:
    """Return the super network of ``graph`` and the ledger.

    With ``data``, a restored BN is calibrated on ``count`` of its training pictures.
    """
    from fnac.stages.calibration import calibration_images
    from fnac.stages.expand import expand

    manager = PassManager(verify=verify, dump=dump)
    source = _open(data, settings.task) if data else None

    def images(network: Graph) -> np.ndarray:
        assert source is not None
        size = _image_size(network)
        return calibration_images(source, size, network.manifest, count=count)

    made = expand(graph, settings, manager=manager, images=images if source else None)
    return made, [{**entry.as_json(), "stage": "expand"} for entry in manager.ledger]


def run_search(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Search the super network ``model`` in a run folder of its own."""
    from fnac.search.settings import SearchSettings
    from fnac.stages.search import search

    settings = build(SearchSettings, config.get("search", {}), "search")
    adapting = _adapt_settings(config, _task_of(model))
    folder, ranks = _claim_for_all(out, "search", resume)
    source = _open(adapting.data, adapting.task)
    if ranks.first:
        source.check()
        _describe(folder, config)
    ranks.wait()
    found = search(
        model,
        source,
        _task(adapting.task, source),
        folder / "super.onnx",
        folder / "search",
        settings,
        budget=adapting.parsed_budget(),
        resume=resume,
    )
    keys = ("output", "steps", "expected", "budget", "unit", "lambda_", "entropy", "warnings")
    return _plain(found, keys)


def run_derive(
    model: Path, config: Config, *, out: Path, arch: str | None, weights_from: Path | None
) -> dict[str, Any]:
    """Derive the target of ``model``; arch.json goes beside it."""
    from fnac.stages.derive import DeriveSettings, derive

    adapting = _adapt_settings(config, "seg")
    section = dict(config.get("derive", {}))
    if weights_from is not None:
        section["weights"] = "seed"
    found = derive(
        model,
        out,
        build(DeriveSettings, section, "derive"),
        budget=adapting.parsed_budget(),
        arch=None if arch is None else "seed" if arch == "seed" else Path(arch),
        unsearched=weights_from,
        arch_output=out.parent / "arch.json",
    )
    return _plain(found, ("output", "choices", "madds", "params", "budget", "remarks"))


def run_tune(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Fine-tune ``model`` in a run folder of its own; the result is RUN/target.onnx."""
    from fnac.stages.tune import TuneSettings, tune

    settings = build(TuneSettings, config.get("tune", {}), "tune")
    adapting = _adapt_settings(config, _task_of(model))
    folder, ranks = _claim_for_all(out, "tune", resume)
    source = _open(adapting.data, adapting.task)
    if ranks.first:
        source.check()
        _describe(folder, config)
    ranks.wait()
    found = tune(
        model,
        source,
        _task(adapting.task, source),
        folder / "target.onnx",
        folder / "tune",
        settings,
        resume=resume,
    )
    return _plain(found, ("output", "steps", "loss", "val"))


def run_emit(model: Path, config: Config, *, out: Path) -> dict[str, Any]:
    """Emit ``model`` to ``out``; profile.json and profile.csv go beside it."""
    from fnac.stages.calibration import calibration_images
    from fnac.stages.emit import EmitSettings, emit

    settings = build(EmitSettings, config.get("emit", {}), "emit")
    adapting = _adapt_settings(config, _task_of(model))
    images = None
    if settings.int8 and adapting.data:
        graph = Graph.load(model)
        source = _open(adapting.data, adapting.task)
        size = _image_size(graph)
        images = calibration_images(source, size, graph.manifest, count=settings.calibration)
    found = emit(model, out, settings, images=images)
    return {
        "output": str(found.path),
        "nodes": len(found.profile.nodes),
        "madds": found.profile.madds,
        "params": found.profile.params,
        "size_bytes": out.stat().st_size,
    }


def run_eval(model: Path, config: Config) -> EvalResult:
    """Measure the metric of ``model`` in onnxruntime."""
    from fnac.stages.evaluate import evaluate_onnx

    adapting = _adapt_settings(config, "seg")
    settings = build(EvalSettings, config.get("eval", {}), "eval")
    source = _open(adapting.data, adapting.task)
    return evaluate_onnx(
        model,
        source,
        settings.split,
        settings.size,
        batch_size=settings.batch_size,
        limit=settings.limit,
    )


# ---------------------------------------------------------------------- all of them


def adapt(
    config: Config, *, out: Path | None = None, resume: bool = False, verify: bool = True
) -> AdaptResult | None:
    """Run every stage that is not done yet; None on all processes but the first.

    Raises UsageError for contradictions and impossible budgets before anything is trained.
    """
    name = _adapt_settings(config, "seg").task
    folder, ranks = _claim_for_all(out, name, resume)
    if resume:
        config = read_yaml(folder / "config.yaml")
    run = _Run(folder, config, verify, ranks, resume)
    if ranks.first:
        log.info("run folder: %s", folder)
        run.check_settings()
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


class _Run:
    """One adaptation in its folder: the stages as methods, in the order of the file's words."""

    def __init__(
        self, folder: Path, config: Config, verify: bool, ranks: _Ranks, resume: bool
    ) -> None:
        self.folder, self.config, self.verify = folder, config, verify
        self.ranks, self.resume = ranks, resume
        self.settings = _adapt_settings(config, "seg")
        self.source = _open(self.settings.data, self.settings.task)
        self.budget = self.settings.parsed_budget()

    def path(self, name: str) -> Path:
        return self.folder / name

    def check_settings(self) -> None:
        """Build every stage's settings, so that a slip shows before anything runs."""
        from fnac.search.settings import SearchSettings
        from fnac.stages.derive import DeriveSettings
        from fnac.stages.emit import EmitSettings
        from fnac.stages.expand import ExpandSettings
        from fnac.stages.export import ExportSettings
        from fnac.stages.tune import TuneSettings

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
        unknown = [section for section in self.config if section not in kinds]
        if unknown:
            raise UsageError(
                f"{unknown[0]}: no such section of settings; known: {', '.join(kinds)}"
            )
        resolved = {}
        for section, kind in kinds.items():
            made = build(kind, self._section(section), section)
            resolved[section] = dataclasses.asdict(made)
        if not self.resume:
            _describe(self.folder, resolved)
        self.source.check()

    def _section(self, section: str) -> dict[str, Any]:
        values = dict(self.config.get(section, {}))
        if section == "expand":
            values["task"] = self.settings.task
            values.setdefault("classes", len(self.source.classes))
        return values

    def seed(self) -> None:
        """Bring the seed into the run folder."""
        from fnac.stages.export import ExportSettings, export_seed

        if self.path("seed.onnx").exists() or self.path("super.onnx").exists():
            return
        section = dict(self.config.get("export", {}))
        given = self.settings.seed or section.pop("seed", None) or "bundled"
        if Path(given).suffix == ".onnx" or Path(given).is_file():
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
        from fnac.search.budget import budget_costs, resolve_budget
        from fnac.stages.expand import ExpandSettings

        if not self.path("super.onnx").exists():
            settings = build(ExpandSettings, self._section("expand"), "expand")
            graph, ledger = run_expand(
                self.path("seed.onnx"),
                settings,
                data=self.settings.data or "scenes:",
                verify=self.verify,
                count=self.settings.calibrate,
            )
            graph.manifest["classes"] = list(self.source.classes)
            runs.write_json(self.path("ledger.json"), ledger)
            graph.save(self.path("super.onnx"))
            log.info("expanded: %d layers to choose", len(graph.manifest["layers"]))
        manifest = Graph.load(self.path("super.onnx")).manifest
        resolve_budget(self.budget, budget_costs(manifest, self.settings.budget_of))

    def search(self) -> None:
        """super.onnx -> super.onnx, weights and alphas trained."""
        from fnac.search.settings import SearchSettings
        from fnac.stages.search import search

        if "search" in Graph.load(self.path("super.onnx")).manifest:
            return
        search(
            self.path("super.onnx"),
            self.source,
            _task(self.settings.task, self.source),
            self.path("super.onnx"),
            self.path("search"),
            build(SearchSettings, self._section("search"), "search"),
            budget=self.budget,
            resume=self.resume,
        )

    def derive(self) -> None:
        """super.onnx -> target.onnx and arch.json, within the budget."""
        from fnac.search.budget import parse_budget
        from fnac.stages.derive import DeriveSettings, derive

        if self.path("target.onnx").exists():
            return
        found = derive(
            self.path("super.onnx"),
            self.path("target.onnx"),
            build(DeriveSettings, self._section("derive"), "derive"),
            budget=self.budget or parse_budget("1x", self.settings.budget_of),
            arch_output=self.path("arch.json"),
        )
        self._add_to_ledger(found.ledger)

    def tune(self) -> None:
        """target.onnx -> target.onnx, fine-tuned."""
        from fnac.stages.tune import TuneSettings, tune

        if "tune" in Graph.load(self.path("target.onnx")).manifest:
            return
        tune(
            self.path("target.onnx"),
            self.source,
            _task(self.settings.task, self.source),
            self.path("target.onnx"),
            self.path("tune"),
            build(TuneSettings, self._section("tune"), "tune"),
            resume=self.resume,
        )

    def emit(self) -> None:
        """target.onnx -> model.onnx, profile.json, profile.csv."""
        from fnac.stages.emit import EmitSettings, emit

        if self.path("model.onnx").exists() and self.path("profile.csv").exists():
            return
        section = self._section("emit")
        if not self.verify:
            section["no_verify"] = True
        found = emit(
            self.path("target.onnx"), self.path("model.onnx"), build(EmitSettings, section, "emit")
        )
        self._add_to_ledger([{**entry, "stage": "emit"} for entry in found.ledger])

    def evaluate(self) -> AdaptResult:
        """Measure model.onnx in onnxruntime; write results.json and the pictures."""
        from fnac.passes.cost import profile
        from fnac.stages.evaluate import evaluate_onnx

        settings = build(EvalSettings, self._section("eval"), "eval")
        found = evaluate_onnx(
            self.path("model.onnx"),
            self.source,
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
            "warnings": warnings,
        }
        runs.write_json(self.path("results.json"), results)
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

        dataset = self.source.split(settings.split)
        labels = predict_first(self.path("model.onnx"), dataset, PICTURES, settings.size)
        _task(self.settings.task, self.source).pictures(dataset, labels, self.path("pictures"))

    def report(self) -> None:
        """Write report.html from what the folder holds."""
        from fnac.report import write_report

        write_report(self.folder)

    def _add_to_ledger(self, entries: list[dict[str, Any]]) -> None:
        path = self.path("ledger.json")
        kept = json.loads(path.read_text()) if path.exists() else []
        stages = {entry["stage"] for entry in entries}
        kept = [entry for entry in kept if entry.get("stage") not in stages]
        runs.write_json(path, [*kept, *entries])


# ---------------------------------------------------------------------- helpers of the flow


def recipe_for(name: str | None, *, seed: str | None, task: str, data: str | None) -> Config | None:
    """Return the settings of recipe ``name`` (or file); without one, the built-in job's recipe.

    The built-in recipe is tuned for the built-in scenes: with ``data``, the settings' own defaults
    hold, which are for real data sets.
    """
    from fnac.models.errors import ModelError
    from fnac.models.recipes import load_recipe, recipe_names

    if name is None:
        if data is not None:
            return None
        name = f"builtin-{task}"
        if name not in recipe_names():
            raise UsageError(f"--task {task}: there is no built-in job for it; known: seg")
    try:
        loaded = load_recipe(name)
    except ModelError as error:
        raise UsageError(f"--recipe {name}: {error}") from error
    recipe = {section: dict(values) for section, values in loaded.items()}
    recipe.setdefault("adapt", {})["recipe"] = name
    if seed is not None:
        recipe.pop("export", None)
    return recipe


def _image_size(graph: Graph) -> tuple[int, int]:
    size = graph.image_size()
    if size is None:
        raise UsageError("the network's image size is not known; give --size HxW")
    return size


@dataclasses.dataclass(frozen=True)
class _Ranks:
    """The processes of a distributed run; alone, the first and nothing to wait for."""

    first: bool
    fabric: Any = None

    def wait(self) -> None:
        if self.fabric is not None:
            self.fabric.barrier()


def _claim_for_all(out: Path | None, name: str, resume: bool) -> tuple[Path, _Ranks]:
    """Let the first process claim the run folder and tell the others."""
    take = runs.latest if resume else runs.claim
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return take(out, name), _Ranks(first=True)
    from fnac.training import RuntimeSettings, open_fabric

    fabric = open_fabric(RuntimeSettings())
    folder = str(take(out, name)) if fabric.is_global_zero else ""
    return Path(fabric.broadcast(folder)), _Ranks(fabric.is_global_zero, fabric)


def _adapt_settings(config: Config, task: str) -> AdaptSettings:
    section = {"task": task, **config.get("adapt", {})}
    return build(AdaptSettings, section, "adapt")


def _task_of(model: Path) -> str:
    return str(Graph.load(model).manifest.get("task") or "seg")


def _open(data: str | None, task: str | None) -> DataSource:
    from fnac.data.spec import open_data

    return open_data(data, task or "seg")


def _task(name: str, source: DataSource) -> Task:
    from fnac.tasks.segmentation import Segmentation

    return Segmentation(tuple(source.classes), name)


def _describe(folder: Path, config: Mapping[str, Any]) -> None:
    runs.write_yaml(folder / "config.yaml", config)
    runs.write_json(folder / "env.json", runs.environment())


def _plain(found: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in keys:
        value = getattr(found, key)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        values[key.rstrip("_")] = value
    return values
