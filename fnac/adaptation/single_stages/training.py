"""Search, fine-tuning and healing, each in a run folder of its own."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.calibrating import to_calibrate_on
from fnac.adaptation.folder import working_in
from fnac.adaptation.history import tell_next
from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.plan import Subject
from fnac.adaptation.resuming import stage_to_resume
from fnac.adaptation.settings import task_of
from fnac.adaptation.single_stages.expanding import open_seed, prepare_graph
from fnac.adaptation.single_stages.measuring import subject_of
from fnac.adaptation.single_stages.plain import plain
from fnac.config import Config, read
from fnac.data.batches import size_of_data
from fnac.data.preprocessing import state_preprocessing, tell_assumed
from fnac.data.readers.names import PICTURES
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.ranks import Ranks, is_first_rank
from fnac.stages.exporting.settings import is_model_file

if TYPE_CHECKING:
    from fnac.search.settings import SearchSettings
    from fnac.stages.tune_settings import TuneSettings

log = logging.getLogger(__name__)


def run_search(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Search the super network ``model`` in a run folder of its own."""
    from fnac.architectures.budget import CostLimit
    from fnac.architectures.latency import latency_table
    from fnac.search.settings import SearchSettings
    from fnac.stages.search import search

    config = stage_to_resume(out, "search", config) if resume else config
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
    return plain(searched, keys)


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

    config = stage_to_resume(out, "tune", config) if resume else config
    if str(config.get("adapt", {}).get("data") or "").startswith(PICTURES):
        return run_heal(Path(model), config, out=out, resume=resume)
    settings = read(TuneSettings, config)
    with tuning(model, config, settings, out=out, resume=resume) as (on, folder, start, graph):
        target, task = folder / "target.onnx", on.task_for(graph.manifest)
        tuned = tune(
            start, on.source, task, target, folder / "tune", settings, resume=resume, loaded=graph
        )
    tell_next("emit", tuned.output, "-o", tuned.output.with_name("model.onnx"))
    told = plain(tuned, ("output", "steps", "loss", "val", "weights"))
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
            ranks.wait()
            graph = Graph.load(start)
        manifest = copy.deepcopy(graph.manifest)
        state_preprocessing(manifest, settings.mean, settings.std)
        tell_assumed(manifest)
        ranks.wait()
        yield on, folder, start, graph


def _start_of(model: Path | str, graph: Graph) -> dict[str, str]:
    from fnac.training.digests import network_digest

    return {"model": str(model), "network": network_digest(graph)}


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
    start = _start_of(model, graph)
    work = working_in(out, "tune", settings.device, source, asked, start, resume=resume)
    with work as (folder, ranks):
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
    on = subject_of(model, graph.manifest, config)
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
    start = _start_of(model, graph)
    work = working_in(
        out, stage, settings.device, on.source, asked, start, resume=resume, account=account
    )
    with work as (folder, ranks):
        yield on, folder, ranks
