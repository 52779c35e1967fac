"""A seed is expanded; a target is derived from its super network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.calibrating import images_for_batchnorm, to_calibrate_on
from fnac.adaptation.history import tell_next, tell_unsearched
from fnac.adaptation.plan import Plan, Subject
from fnac.adaptation.resuming import read_plan
from fnac.adaptation.single_stages.plain import plain
from fnac.config import Config, read
from fnac.data.batches import size_of_data
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.stages.exporting.settings import ExportSettings, is_model_file

if TYPE_CHECKING:
    from fnac.stages.expand import ExpandSettings


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


def open_seed(model: Path | str) -> Graph:
    """Return the network of a file, or the seed that ``model`` names."""
    from fnac.stages.export import export_seed

    if is_model_file(str(model)):
        return Graph.load(model)
    return export_seed(read(ExportSettings, {"export": {"seed": str(model)}}))


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
    return plain(derived, ("output", "choices", "madds", "params", "budget", "findings"))


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
