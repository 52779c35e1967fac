"""Each stage alone, as the command line and the Python interface run it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.folder import claim_for_all, describe, kept_if_trained
from fnac.adaptation.settings import (
    AdaptSettings,
    EvalSettings,
    adapt_settings,
    open_source,
    task_for,
    task_of,
)
from fnac.config import Config, build, read_yaml
from fnac.data.preprocessing import ASSUMED, state_preprocessing
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.passes.manager import PassManager
from fnac.ranks import Ranks, is_first_rank

if TYPE_CHECKING:
    import numpy as np

    from fnac.data.source import DataSource
    from fnac.stages.emit import EmitSettings
    from fnac.stages.evaluate import EvalResult
    from fnac.stages.expand import ExpandSettings
    from fnac.tasks.base import Task

log = logging.getLogger(__name__)


def run_expand(
    model: Path,
    settings: ExpandSettings,
    *,
    data: AdaptSettings | None = None,
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
    data: AdaptSettings | None = None,
    verify: bool = True,
    dump: Path | None = None,
    count: int = 200,
) -> tuple[Graph, list[dict[str, Any]]]:
    """Return the super network of ``graph`` and the ledger.

    With ``data`` (settings that name a data set), a restored BN is calibrated on ``count`` of its
    training pictures.
    """
    from fnac.stages.calibration import calibration_images
    from fnac.stages.expand import expand

    manager = PassManager(verify=verify, dump=dump)

    def images(network: Graph) -> np.ndarray:
        assert data is not None
        source, task = to_calibrate_on(data, {}, network)
        return calibration_images(source, task, _image_size(network), network.manifest, count=count)

    made = expand(graph, settings, manager=manager, images=images if data else None)
    return made, [{**entry.as_json(), "stage": "expand"} for entry in manager.ledger]


def to_calibrate_on(
    adapting: AdaptSettings, config: Config, network: Graph
) -> tuple[DataSource, Task]:
    """Return the data set that the settings name, or ``pictures:FOLDER`` without labels."""
    from fnac.data.readers.picture_folder import SPEC, read_pictures
    from fnac.tasks.segmentation import Segmentation

    spec = adapting.data or ""
    if spec.startswith(SPEC):
        folder = spec.removeprefix(SPEC)
        if not folder:
            raise UsageError(f"--data {spec}: it names no folder; wanted {SPEC}FOLDER")
        pictures = read_pictures(Path(folder), skip_bad=adapting.skip_bad)
        return pictures, Segmentation(("nothing",))
    source = open_source(adapting)
    return source, task_for(adapting, source, config, network.manifest)


def run_search(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Search the super network ``model`` in a run folder of its own."""
    from fnac.search.settings import SearchSettings
    from fnac.stages.search import search

    settings = build(SearchSettings, config.get("search", {}), "search")

    def train(run: _Training) -> Any:
        budget, table = run.adapting.parsed_budget(), run.folder / "latency.json"
        if run.first:
            run.adapting.latencies(model, table)
        run.wait()
        return search(
            model,
            run.source,
            run.task,
            run.folder / "super.onnx",
            run.folder / "search",
            settings,
            budget=budget,
            latency_table=run.adapting.latencies(model, table),
            resume=resume,
        )

    found = _train("search", model, config, settings, train, out=out, resume=resume)
    keys = ("output", "steps", "expected", "budget", "unit", "lambda_", "entropy", "findings")
    return _plain(found, keys)


def run_tune(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Fine-tune ``model`` in a run folder of its own; the result is RUN/target.onnx."""
    from fnac.stages.tune import tune
    from fnac.stages.tune_settings import TuneSettings

    settings = build(TuneSettings, config.get("tune", {}), "tune")
    if state_preprocessing(Graph.load(model).manifest, settings.mean, settings.std):
        log.warning(ASSUMED)

    def train(run: _Training) -> Any:
        run.wait()
        target, log = run.folder / "target.onnx", run.folder / "tune"
        return tune(model, run.source, run.task, target, log, settings, resume=resume)

    found = _train("tune", model, config, settings, train, out=out, resume=resume)
    return _plain(found, ("output", "steps", "loss", "val"))


@dataclasses.dataclass(frozen=True)
class _Training:
    """What a stage that trains needs: its folder, data and task, and the other processes."""

    folder: Path
    adapting: AdaptSettings
    source: DataSource
    task: Task
    ranks: Ranks

    @property
    def first(self) -> bool:
        return self.ranks.first

    def wait(self) -> None:
        self.ranks.wait()


def _train(
    stage: str,
    model: Path,
    config: Config,
    settings: Any,
    train: Callable[[_Training], Any],
    *,
    out: Path | None,
    resume: bool,
) -> Any:
    """Check file and data, claim a run folder, train in it; a run that never began leaves none."""
    Graph.load(model).check_finite()
    adapting = adapt_settings(config, task_of(model))
    source = open_source(adapting)
    if is_first_rank():
        source.check()
    folder, ranks = claim_for_all(out, stage, resume, settings.device)
    task = task_for(adapting, source, config, Graph.load(model).manifest)
    run = _Training(folder, adapting, source, task, ranks)
    with kept_if_trained(folder, new=ranks.first and not resume):
        if ranks.first and not resume:
            what = {**dataclasses.asdict(adapting), "seed": str(model)}
            asked = {"adapt": what, stage: dataclasses.asdict(settings)}
            describe(folder, {**asked, "task": config.get("task", {})})
        return train(run)


def run_derive(
    model: Path, config: Config, *, out: Path, arch: str | None, weights_from: str | None
) -> dict[str, Any]:
    """Derive the target of ``model``; arch.json goes beside it.

    weights_from  None: the trained super network; ``seed``: remapped from the seed, for which the
                  super network of ``model``'s run is expanded again; or an untrained super network
    """
    from fnac.stages.derive import DeriveSettings, derive

    adapting = adapt_settings(config, "seg")
    section = dict(config.get("derive", {}))
    settings = build(DeriveSettings, section, "derive")
    unsearched = None
    if weights_from is not None or settings.weights == "seed":
        section["weights"] = "seed"
        given = weights_from or "seed"
        unsearched = unsearched_super(model.parent) if given == "seed" else Path(given)
    asked = adapting.budget is not None or adapting.budget_of != "madds"
    found = derive(
        model,
        out,
        build(DeriveSettings, section, "derive"),
        budget=adapting.parsed_budget() if asked else None,
        arch=None if arch is None else "seed" if arch == "seed" else Path(arch),
        unsearched=unsearched,
        arch_output=out.parent / "arch.json",
        latency_table=adapting.latencies(model, out.parent / "latency.json"),
    )
    return _plain(found, ("output", "choices", "madds", "params", "budget", "findings"))


def unsearched_super(folder: Path) -> Path:
    """Return the super network of a run as it was before the search: seed.onnx expanded again.

    Raises UsageError if ``folder`` is not a run folder with its seed.
    """
    path = folder / "super.unsearched.onnx"
    if path.exists():
        return path
    if not (folder / "seed.onnx").is_file() or not (folder / "config.yaml").is_file():
        raise UsageError(
            f"--from seed: {folder} holds no seed.onnx and config.yaml of a run to expand again; "
            "give the untrained super network: --from SUPER.onnx"
        )
    from fnac.stages.expand import ExpandSettings

    config = read_yaml(folder / "config.yaml")
    adapting = adapt_settings(config, "seg")
    graph, _ = run_expand(
        folder / "seed.onnx",
        build(ExpandSettings, config.get("expand", {}), "expand"),
        data=adapting,
        verify=False,
        count=adapting.calibrate,
    )
    return graph.save(path)


def run_emit(model: Path, config: Config, *, out: Path) -> dict[str, Any]:
    """Emit ``model`` to ``out``; its profile goes beside it."""
    from fnac.stages.emit import EmitSettings, emit

    settings = build(EmitSettings, config.get("emit", {}), "emit")
    adapting = adapt_settings(config, task_of(model))
    images = None
    if adapting.data:
        source, task = to_calibrate_on(adapting, config, Graph.load(model))
        images = emit_images(model, settings, source, task)
    found = emit(model, out, settings, images=images)
    return {
        "output": str(found.path),
        "nodes": len(found.profile.nodes),
        "madds": found.profile.madds,
        "params": found.profile.params,
        "size_bytes": out.stat().st_size,
    }


def emit_images(
    model: Path, settings: EmitSettings, source: DataSource, task: Task
) -> np.ndarray | None:
    """Return the pictures that int8 is calibrated on; None if they are not needed."""
    from fnac.stages.calibration import calibration_images

    if not settings.int8:
        return None
    graph = Graph.load(model)
    size = _image_size(graph)
    return calibration_images(source, task, size, graph.manifest, count=settings.calibration)


def run_eval(model: Path, config: Config) -> EvalResult:
    """Measure the metric of ``model`` in onnxruntime, fed as its file says."""
    from fnac.stages.evaluate import evaluate_onnx

    adapting = adapt_settings(config, task_of(model))
    settings = build(EvalSettings, config.get("eval", {}), "eval")
    manifest = Graph.load(model).manifest
    source = in_classes_of(model, manifest, open_source(adapting), adapting.task, settings)
    if state_preprocessing(manifest, settings.mean, settings.std):
        log.warning(ASSUMED)
    said, stated = config.get("task", {}).get("resize"), Contract.read(manifest).input.resize
    if said is not None and stated not in (None, said):
        log.warning("task.resize %s is followed; the file says %s", said, stated)
    return evaluate_onnx(
        model,
        source,
        task_for(adapting, source, config, manifest),
        settings.split,
        settings.size,
        batch_size=settings.batch_size,
        limit=settings.limit,
        manifest=manifest,
    )


def in_classes_of(
    model: Path,
    manifest: Mapping[str, Any],
    source: DataSource,
    task: str,
    settings: EvalSettings,
) -> DataSource:
    """Return the data set in the classes of the network, as far as both say what these are.

    Raises UsageError where they have other names, and no map says which is which.
    """
    from fnac.data.mapped import MappedSource, read_class_map, same_names

    names = manifest.get("classes") if manifest.get("task") == task else None
    if settings.classes_map is not None:
        if names is None:
            raise UsageError(f"--classes-map: {model} does not say what its classes are called")
        table = read_class_map(settings.classes_map, source.classes, names)
        left = [name for name, new in zip(source.classes, table, strict=True) if new is None]
        if left:
            log.warning("not measured, for the network has no such class: %s", ", ".join(left))
        return MappedSource(source, list(names), table, task)
    if names is not None and not same_names(names, source.classes):
        raise UsageError(
            f"{model} was made for other classes than those of {source.name}:\n"
            f"  the file ({len(names)}): {', '.join(names)}\n"
            f"  the data set ({len(source.classes)}): {', '.join(source.classes)}\n"
            "take the data set that it was made for, or say which is which with --classes-map FILE "
            "(YAML, name in the data set: name in the file)"
        )
    return source


def _image_size(graph: Graph) -> tuple[int, int]:
    size = graph.image_size()
    if size is None:
        raise UsageError("the network's image size is not known; give --size HxW")
    return size


def _plain(found: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in keys:
        value = getattr(found, key)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = [str(one) for one in value]
        values[key.rstrip("_")] = value
    return values
