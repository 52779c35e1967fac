"""Each stage alone, as the command line and the Python interface run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation import EvalSettings, adapt_settings, make_task, open_source, task_of
from fnac.config import Config, build
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.processes import claim_for_all
from fnac.runs import describe

if TYPE_CHECKING:
    import numpy as np

    from fnac.stages.evaluate import EvalResult
    from fnac.stages.expand import ExpandSettings


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
    source = open_source(data, settings.task) if data else None

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
    adapting = adapt_settings(config, task_of(model))
    folder, ranks = claim_for_all(out, "search", resume, settings.device)
    source = open_source(adapting.data, adapting.task)
    if ranks.first:
        source.check()
        describe(folder, config)
    ranks.wait()
    found = search(
        model,
        source,
        make_task(adapting.task, source),
        folder / "super.onnx",
        folder / "search",
        settings,
        budget=adapting.parsed_budget(),
        latency_table=adapting.latencies(model, folder / "latency.json"),
        resume=resume,
    )
    keys = ("output", "steps", "expected", "budget", "unit", "lambda_", "entropy", "warnings")
    return _plain(found, keys)


def run_derive(
    model: Path, config: Config, *, out: Path, arch: str | None, weights_from: Path | None
) -> dict[str, Any]:
    """Derive the target of ``model``; arch.json goes beside it."""
    from fnac.stages.derive import DeriveSettings, derive

    adapting = adapt_settings(config, "seg")
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
        latency_table=adapting.latencies(model, out.parent / "latency.json"),
    )
    return _plain(found, ("output", "choices", "madds", "params", "budget", "remarks"))


def run_tune(model: Path, config: Config, *, out: Path | None, resume: bool) -> dict[str, Any]:
    """Fine-tune ``model`` in a run folder of its own; the result is RUN/target.onnx."""
    from fnac.stages.tune import TuneSettings, tune

    settings = build(TuneSettings, config.get("tune", {}), "tune")
    adapting = adapt_settings(config, task_of(model))
    folder, ranks = claim_for_all(out, "tune", resume, settings.device)
    source = open_source(adapting.data, adapting.task)
    if ranks.first:
        source.check()
        describe(folder, config)
    ranks.wait()
    found = tune(
        model,
        source,
        make_task(adapting.task, source),
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
    adapting = adapt_settings(config, task_of(model))
    images = None
    if settings.int8 and adapting.data:
        graph = Graph.load(model)
        source = open_source(adapting.data, adapting.task)
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

    adapting = adapt_settings(config, "seg")
    settings = build(EvalSettings, config.get("eval", {}), "eval")
    source = open_source(adapting.data, adapting.task)
    return evaluate_onnx(
        model,
        source,
        settings.split,
        settings.size,
        batch_size=settings.batch_size,
        limit=settings.limit,
    )


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
            value = list(value)
        values[key.rstrip("_")] = value
    return values
