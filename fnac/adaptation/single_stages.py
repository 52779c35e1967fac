"""Each stage by itself, for the command line and the Python interface."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.calibrating import emit_images, images_for_batchnorm, to_calibrate_on
from fnac.adaptation.folder import working_in
from fnac.adaptation.history import tell_next, tell_unsearched, tell_untuned
from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.plan import Plan, Subject
from fnac.adaptation.resuming import read_plan
from fnac.adaptation.settings import EvalSettings, task_of
from fnac.config import Config, as_json, read
from fnac.data.batches import size_of_data
from fnac.data.preprocessing import state_preprocessing, tell_assumed
from fnac.data.readers.names import PICTURES
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.passes.manager import PassManager
from fnac.ranks import Ranks, is_first_rank
from fnac.stages.exporting.settings import ExportSettings, is_model_file
from fnac.tasks import make_task

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.search.settings import SearchSettings
    from fnac.stages.emit import EmitSettings
    from fnac.stages.evaluate import EvalResult
    from fnac.stages.expand import ExpandSettings
    from fnac.stages.tune_settings import TuneSettings

log = logging.getLogger(__name__)

COMPARED = 200
"""Images that the metrics of two precisions are compared on, at most."""
REMAP = "fna"
"""How weights are remapped from the seed where the super network starts at random."""


def expand_graph(
    graph: Graph,
    settings: ExpandSettings,
    *,
    on: Subject | None = None,
    verify: bool = True,
    dump: Path | None = None,
) -> tuple[Graph, list[dict[str, Any]]]:
    """Return the super network of ``graph`` and the ledger.

    on  whose training images a restored BatchNorm is calibrated on; None: it cannot be
    """
    from fnac.stages.expand import expand

    if on is not None and settings.size is None and graph.image_size() is None:
        train = to_calibrate_on(on).split("train")
        settings = dataclasses.replace(settings, size=size_of_data(train, settings.task or "seg"))
    manager = PassManager(verify=verify, dump=dump)
    expanded = expand(graph, settings, manager=manager, images=images_for_batchnorm(on))
    return expanded, [{**entry.as_json(), "stage": "expand"} for entry in manager.ledger]


def prepare_graph(
    graph: Graph, settings: ExpandSettings, *, on: Subject | None, verify: bool = True
) -> tuple[Graph, list[dict[str, Any]]]:
    """Return the seed ``graph`` in canonical form with the task's head, and the ledger."""
    from fnac.stages.expand import prepare_seed

    manager = PassManager(verify=verify)
    prepared = prepare_seed(graph, settings, manager=manager, images=images_for_batchnorm(on))
    return prepared, [{**entry.as_json(), "stage": "expand"} for entry in manager.ledger]


def run_search(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Search the super network ``model`` in a run folder of its own."""
    from fnac.architectures.budget import CostLimit
    from fnac.architectures.latency import latency_table
    from fnac.search.settings import SearchSettings
    from fnac.stages.search import search

    settings, graph = read(SearchSettings, config), Graph.load(model)
    with _training(model, graph, config, settings, out=out, resume=resume) as (on, folder, ranks):
        how, kept = on.adapt, folder / "latency.json"
        if ranks.first:
            latency_table(how.budget_of, how.latency_table, model, kept)
            if kept.exists():
                KeptFiles(folder).note(kept.name)
        ranks.wait()
        searched = search(
            graph,
            on.source,
            on.task_for(graph.manifest),
            folder / "super.onnx",
            folder / "search",
            settings,
            limit=CostLimit(
                on.budget, latency_table(how.budget_of, how.latency_table, model, kept)
            ),
            resume=resume,
        )
    budget = ("--budget", how.budget) if how.budget else ()
    tell_next("derive", searched.output, *budget)
    keys = ("output", "steps", "expected", "budget", "unit", "lambda_", "entropy", "findings")
    return _plain(searched, keys)


def run_tune(
    model: Path | str, config: Config, *, out: Path | None, resume: bool
) -> dict[str, Any]:
    """Fine-tune ``model`` in a run folder of its own; the result is RUN/target.onnx.

    A seed without a head for the data set gets one first: RUN/start.onnx. Section ``expand`` says
    which. On ``pictures:FOLDER``, which has no labels, it learns its teacher's outputs alone.

    model  an ONNX file, or the name of a seed
    """
    from fnac.stages.tune import tune
    from fnac.stages.tune_settings import TuneSettings

    if str(config.get("adapt", {}).get("data") or "").startswith(PICTURES):
        return run_heal(Path(model), config, out=out, resume=resume)
    settings = read(TuneSettings, config)
    with tuning(model, config, settings, out=out, resume=resume) as (on, folder, start, graph):
        target, task = folder / "target.onnx", on.task_for(graph.manifest)
        tuned = tune(
            start, on.source, task, target, folder / "tune", settings, resume=resume, loaded=graph
        )
    tell_next("emit", tuned.output, "-o", tuned.output.with_name("model.onnx"))
    told = _plain(tuned, ("output", "steps", "loss", "val", "weights"))
    return {**told, "metric": task.metric, "head": graph.manifest.get("head")}


@contextlib.contextmanager
def tuning(
    model: Path | str, config: Config, settings: TuneSettings, *, out: Path | None, resume: bool
) -> Iterator[tuple[Subject, Path, Path, Graph]]:
    """Claim a run folder to tune ``model`` in, and put a head on a seed that has none.

    yields  the data set's settings, the folder, the file that is tuned, and what it holds
    """
    graph = open_seed(model)
    _check_task_said(graph, config)
    head = config.get("expand", {})
    with _training(model, graph, config, settings, out=out, resume=resume) as (on, folder, ranks):
        start = Path(model)
        if _wants_head(graph, on, head) or not is_model_file(str(model)):
            start = folder / "start.onnx"
            if ranks.first and not start.exists():
                _write_start(graph, on, settings, head, part := folder / "start.part.onnx")
                KeptFiles(folder).take(part, start.name)
                KeptFiles(folder).write(START_OF, as_json(_start_of(model, graph)))
            elif (folder / START_OF).exists():
                _check_start_of(model, graph, folder)
            ranks.wait()
            graph = Graph.load(start)
        manifest = copy.deepcopy(graph.manifest)
        state_preprocessing(manifest, settings.mean, settings.std)
        tell_assumed(manifest)
        ranks.wait()
        yield on, folder, start, graph


START_OF = "start_of.json"
"""Of which network a run's start.onnx was made: its name, and the digest of its weights."""


def _start_of(model: Path | str, graph: Graph) -> dict[str, str]:
    from fnac.training.checkpoints import weights_digest

    return {"model": str(model), "weights": weights_digest(graph)}


def _check_start_of(model: Path | str, graph: Graph, folder: Path) -> None:
    """Raise UsageError if the run in ``folder`` began with another network than ``model``."""
    began = json.loads((folder / START_OF).read_text(encoding="utf-8"))
    if began["weights"] != _start_of(model, graph)["weights"]:
        raise UsageError(
            f"--resume: {folder} began with {began['model']}, and {model} has other weights; give "
            "the network that it began with, or begin a new run"
        )


def open_seed(model: Path | str) -> Graph:
    """Return the network of a file, or the seed that ``model`` names."""
    from fnac.stages.export import export_seed

    if is_model_file(str(model)):
        return Graph.load(model)
    return export_seed(read(ExportSettings, {"export": {"seed": str(model)}}))


def _check_task_said(graph: Graph, config: Config) -> None:
    """Raise UsageError if neither file nor settings say the task, and no output is a map."""
    if graph.manifest.get("task") is not None or config.get("adapt", {}).get("task") is not None:
        return
    shape = graph.outputs[0].shape if graph.outputs else None
    if shape is None or len(shape) != 4:
        raise UsageError("--task: wanted seg, det, pose or cls: the file does not state its task")


def _wants_head(graph: Graph, on: Subject, head: Mapping[str, Any]) -> bool:
    """Say whether a head is to be put on before ``graph`` is tuned; UsageError for a super network.

    head  what is said of one; a head that is named is put on in any case
    """
    from fnac.stages.opening.fitting_head import needs_head

    if graph.manifest.get("role") == "super":
        raise UsageError("it is a super network; derive an architecture first (`fnac derive`)")
    if head.get("head") is not None:
        return True
    return needs_head(graph, on.adapt.task, len(on.source.classes))


def _write_start(
    graph: Graph, on: Subject, settings: TuneSettings, head: Mapping[str, Any], path: Path
) -> None:
    """Write the network that is tuned: the seed, with a head for the data set where it has none."""
    from fnac.stages.expand import ExpandSettings

    if not _wants_head(graph, on, head):
        graph.save(path)
        return
    names = on.source.classes
    size = settings.size or graph.image_size()
    said: dict[str, Any] = {
        "size": size or size_of_data(on.source.split("train"), on.adapt.task),
        "mean": settings.mean,
        "std": settings.std,
        **head,
        "task": on.adapt.task,
        "classes": len(names),
    }
    how = read(ExpandSettings, {"expand": said})
    seed, _ = prepare_graph(graph, how, on=on, verify=not on.adapt.no_verify)
    log.info("head    %s, for %d classes of %s", seed.manifest["head"], len(names), on.source.name)
    seed.save(path)


def run_heal(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Train ``model`` towards ``tune.teacher``'s outputs on images without labels.

    What section ``tune`` says beside the teacher is said of the healing; RUN/target.onnx.
    """
    from fnac.stages.heal import heal
    from fnac.stages.heal_settings import HealSettings
    from fnac.training.runtime import check_device

    said = dict(config.get("tune", {}))
    teacher = said.pop("teacher", None)
    if teacher is None:
        raise UsageError(
            "--data pictures:FOLDER: these images have no labels; name the network to learn from "
            "(--teacher ORIGINAL.onnx), or a data set with labels"
        )
    settings = read(HealSettings, {"heal": {**config.get("heal", {}), **said}})
    check_device(settings)
    graph = Graph.load(model)
    on = Subject.read(config, task_of(graph.manifest))
    source = to_calibrate_on(on)
    if is_first_rank():
        source.check()
    adapt = dataclasses.replace(on.adapt, seed=str(model))
    asked = {"adapt": adapt, "heal": settings, "tune": {"teacher": str(teacher)}}
    with working_in(out, "tune", settings.device, source, asked, resume=resume) as (folder, ranks):
        ranks.wait()
        target = folder / "target.onnx"
        healed = heal(
            graph, Path(teacher), source.split("train"), settings, folder / "tune",
            output=target, resume=resume,
        )  # fmt: skip
    entry = healed.weights
    return {
        "output": str(target),
        **{key: entry[key] for key in ("start", "error", "weights", "of_step", "steps")},
        "curve": [point.error for point in healed.curve],
    }


@contextlib.contextmanager
def _training(
    model: Path | str,
    graph: Graph,
    config: Config,
    settings: SearchSettings | TuneSettings,
    *,
    out: Path | None,
    resume: bool,
) -> Iterator[tuple[Subject, Path, Ranks]]:
    """Check file and data, claim a run folder; remove it if training never began."""
    from fnac.training.runtime import check_device

    check_device(settings)
    graph.check_finite()
    on = _subject_of(model, graph.manifest, config)
    account = None
    if is_first_rank():
        from fnac.data.account import checked_account

        measured = "val" if "val" in on.source.splits else None
        account = checked_account(on.source, on.adapt.task, measured)
    stage = settings.section
    adapt = dataclasses.replace(on.adapt, seed=str(model))
    asked: dict[str, Any] = {"adapt": adapt, stage: settings, "task": on.task}
    if stage == "tune" and config.get("expand"):
        asked["expand"] = config["expand"]
    work = working_in(out, stage, settings.device, on.source, asked, resume=resume, account=account)
    with work as (folder, ranks):
        yield on, folder, ranks


def run_derive(
    model: Path, config: Config, *, out: Path, arch: str | None, weights_from: str | None
) -> dict[str, Any]:
    """Derive the target of ``model``; arch.json goes beside it.

    weights_from  None: the trained super network; ``seed``: remapped from the seed, for which the
                  super network of ``model``'s run is expanded again; or an untrained super network
    """
    from fnac.architectures.budget import CostLimit
    from fnac.architectures.latency import latency_table
    from fnac.stages.derive import DeriveSettings, derive

    on = Subject.read(config)
    settings = read(DeriveSettings, config)
    unsearched = None
    if weights_from is not None or settings.weights == "seed":
        settings = dataclasses.replace(settings, weights="seed")
        given = weights_from or "seed"
        unsearched = unsearched_super(model.parent) if given == "seed" else Path(given)
    graph = Graph.load(model)
    if arch is None:
        tell_unsearched(model, graph.manifest)
    how, kept = on.adapt, out.parent / "latency.json"
    asked = how.budget is not None or how.budget_of != "madds"
    latencies = latency_table(how.budget_of, how.latency_table, model, kept)
    derived = derive(
        graph,
        out,
        settings,
        limit=CostLimit(on.budget if asked else None, latencies),
        arch=None if arch is None else "seed" if arch == "seed" else Path(arch),
        unsearched=unsearched,
        arch_output=out.parent / "arch.json",
    )
    tell_next("tune", out, "--data", how.data or "SPEC")
    return _plain(derived, ("output", "choices", "madds", "params", "budget", "findings"))


def unsearched_super(folder: Path, plan: Plan | None = None) -> Path:
    """Return the super network of a run before its search: seed.onnx expanded again.

    plan  the run's, where it is at hand; None: it is read from the folder

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
    plan = plan or read_plan(folder)
    seed, expand = Graph.load(folder / "seed.onnx"), plan.expand
    if expand.remap == "random":  # of the super network; from the seed is from its weights
        expand = dataclasses.replace(expand, remap=REMAP)
    graph, _ = expand_graph(seed, expand, on=plan, verify=False)
    return graph.save(path)


def run_emit(model: Path, config: Config, *, out: Path) -> dict[str, Any]:
    """Emit ``model`` to ``out``; its profile goes beside it."""
    from fnac.stages.emit import EmitSettings, emit

    settings, graph = read(EmitSettings, config), Graph.load(model)
    on = Subject.read(config, task_of(graph.manifest))
    images = emit_images(graph, settings, on) if on.adapt.data else None
    tell_untuned(model, graph.manifest)
    emitted = emit(model, out, settings, images=images, loaded=graph)
    tell_next("eval", out, "--data", on.adapt.data or "SPEC")
    told = {
        "output": str(emitted.path),
        "nodes": len(emitted.profile.nodes),
        "madds": emitted.profile.madds,
        "params": emitted.profile.params,
        "size_bytes": out.stat().st_size,
    }
    if settings.fp16 or settings.int8:
        told["precisions"] = _precisions(model, out, settings, on)
    return told


def _precisions(
    model: Path, out: Path, settings: EmitSettings, on: Subject
) -> dict[str, dict[str, Any]]:
    """Return size, latency and metric of ``out``, and of the same network in float32.

    The metric is on the first images of the split val, where ``--data`` has labels, such a split,
    and the classes of the network.
    """
    from fnac.stages.emit import emit

    is_measured = _has_labels_for(Graph.load(out).manifest, on)
    plain = dataclasses.replace(settings, fp16=False, int8=False, no_verify=True)
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "float32.onnx"
        emit(model, before, plain, kit=False)
        sides = {"float32": before, "int8" if settings.int8 else "float16": out}
        return {name: _size_speed_metric(path, on, is_measured) for name, path in sides.items()}


def _has_labels_for(manifest: Mapping[str, Any], on: Subject) -> bool:
    """Say whether a data set can measure a network; warn if only its classes are others."""

    spec = on.adapt.data or ""
    if not spec or spec.startswith(PICTURES) or "val" not in on.source.splits:
        return False
    try:
        in_classes_of("the network", manifest, on.source, on.adapt.task, EvalSettings())
        on.task_for(manifest).check_network(manifest)
    except UsageError:
        log.warning(
            "the metric is not compared: the classes of %s are not the network's", on.source.name
        )
        return False
    return True


def _size_speed_metric(path: Path, on: Subject, is_measured: bool) -> dict[str, Any]:
    from fnac.stages.deployment.kit import contract_of, has_contract, latency_ms

    graph = Graph.load(path)
    told: dict[str, Any] = {"size_bytes": path.stat().st_size}
    if not has_contract(graph):
        return told
    took = latency_ms(path, contract_of(graph, path, path.name))
    told["latency_ms"] = None if took is None else round(took, 3)
    if is_measured:
        from fnac.stages.evaluate import Feeding, evaluate_onnx

        measured = evaluate_onnx(
            path,
            on.source,
            on.task_for(graph.manifest),
            feeding=Feeding(limit=COMPARED, shown=False),
        )
        told |= {"metric": measured.metric, "value": measured.value, "images": measured.images}
    return told


def run_eval(model: Path, config: Config) -> EvalResult:
    """Measure the metric of ``model`` in onnxruntime, with inputs as its file says."""
    from fnac.stages.evaluate import Feeding, evaluate_onnx

    settings, manifest = read(EvalSettings, config), Graph.load(model).manifest
    on = _subject_of(model, manifest, config)
    source = in_classes_of(model, manifest, on.source, on.adapt.task, settings)
    state_preprocessing(manifest, settings.mean, settings.std)
    tell_assumed(manifest)
    tell_untuned(model, manifest)
    said, stated = getattr(on.task, "resize", None), Contract.read(manifest).input.resize
    if said is not None and stated not in (None, said):
        log.warning("task.resize %s is followed; the file says %s", said, stated)
    task = make_task(on.adapt.task, source, manifest, on.task)
    task.check_network(manifest)
    return evaluate_onnx(
        model,
        source,
        task,
        settings.split,
        settings.size,
        manifest=manifest,
        feeding=Feeding(settings.batch_size, settings.limit),
    )


def _subject_of(model: Path | str, manifest: Mapping[str, Any], config: Config) -> Subject:
    """Read the settings of task and data; UsageError if the file is for another task."""
    on, made_for = Subject.read(config, task_of(manifest)), manifest.get("task")
    if made_for not in (None, on.adapt.task):
        raise UsageError(
            f"{model}: it is for --task {made_for}, as its manifest says; --task {on.adapt.task} "
            "was given; leave --task out, or give a file for that task"
        )
    return on


def in_classes_of(
    model: Path | str,
    manifest: Mapping[str, Any],
    source: DataSource,
    task: str,
    settings: EvalSettings,
) -> DataSource:
    """Return the data set mapped to the network's classes, as far as both name them.

    Raises UsageError where they have other names, and no map says which is which.
    """
    from fnac.data.sets.mapped import MappedSource, read_class_map, same_names

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
            f"{model} was made for other classes than those of {source.name}; "
            f"the file ({len(names)}): {', '.join(names)}; "
            f"the data set ({len(source.classes)}): {', '.join(source.classes)}; "
            "take the data set that it was made for, or say which is which with --classes-map FILE "
            "(YAML, name in the data set: name in the file)"
        )
    return source


def _plain(result: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in keys:
        value = getattr(result, key)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = [str(one) for one in value]
        values[key.rstrip("_")] = value
    return values
