"""The stages as functions on networks in memory; each shows its progress on stderr.

Settings are given as keywords (``epochs=3``) or as an object of the stage's settings class
(``settings=TuneSettings(epochs=3)``, from ``fnac.api.settings``), which an editor completes; where
both say something, the keyword holds. Of an object, what differs from its class's defaults counts.
Every stage raises what the command line prints: UsageError, DataError, TrainingError,
UnsupportedGraphError (``fnac.errors``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.api.network import Given, Network, file_of, graph_of, load
from fnac.api.results import Evaluation, Run, Searched, Tuned
from fnac.api.telling import telling
from fnac.errors import UsageError

if TYPE_CHECKING:
    from fnac.adaptation.settings import EvalSettings
    from fnac.search.settings import SearchSettings
    from fnac.stages.emit import EmitSettings
    from fnac.stages.expand import ExpandSettings
    from fnac.stages.shrinking.settings import ShrinkSettings
    from fnac.stages.tune_settings import TuneSettings
    from fnac.tasks.answers import Answer

Folder = str | os.PathLike[str]


def _said(settings: object, more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of an object and keywords into a section; keywords win.

    An object says what differs from its class's defaults: the rest is left to a recipe.
    """
    from fnac.config import as_plain, differing

    return {**as_plain(differing(settings)), **more}


def _config(task: str | None, data: str | None, **sections: dict[str, Any]) -> dict[str, Any]:
    adapt = {key: value for key, value in (("task", task), ("data", data)) if value is not None}
    return {"adapt": {**adapt, **sections.pop("adapt", {})}, **sections}


@telling
def expand(
    seed: Given,
    task: str | None = None,
    *,
    data: str | None = None,
    verify: bool = True,
    settings: ExpandSettings | None = None,
    **more: Any,
) -> Network:
    """Return the super network of ``seed``; ``more`` are settings of ``fnac expand``.

    data  SPEC of images that a restored BN is calibrated on
    """
    from fnac.adaptation.plan import Subject
    from fnac.adaptation.single_stages import expand_graph
    from fnac.config import read
    from fnac.data.preprocessing import tell_assumed
    from fnac.stages.expand import ExpandSettings

    said = _said(settings, more)
    how = read(ExpandSettings, {"expand": {**said, "task": task or said.get("task")}})
    on = Subject.read({"adapt": {"data": data}}, how.task or "seg") if data else None
    expanded, _ = expand_graph(graph_of(seed), how, on=on, verify=verify)
    tell_assumed(expanded.manifest)
    return Network(expanded)


@telling
def search_architecture(
    network: Given,
    *,
    data: str,
    budget: str | None = None,
    out: Folder | None = None,
    settings: SearchSettings | None = None,
    **more: Any,
) -> Searched:
    """Train weights and alphas of a super network, towards a budget (``fnac search``).

    budget  of the whole network: ``0.9x``, ``24.2G``; None: the seed's own cost
    out     folder of the run; None: ``runs/search``
    """
    from fnac.adaptation.single_stages import run_search

    config = _config(None, data, search=_said(settings, more))
    if budget is not None:
        config["adapt"]["budget"] = budget
    with file_of(network) as path:
        told = run_search(path, config, out=_folder(out), resume=False)
    output = Path(told["output"])
    return Searched(
        load(output),
        output.parent,
        expected=told["expected"],
        budget=told["budget"],
        unit=told["unit"],
        entropy=told["entropy"],
        findings=tuple(map(str, told["findings"])),
    )


@telling
def derive(network: Given, *, budget: str | None = None, arch: str | None = None) -> Network:
    """Choose one candidate per layer of a searched super network, within ``budget``.

    arch  ``seed``, or an arch.json, instead of a budget
    """
    from fnac.adaptation.single_stages import run_derive

    config = _config(None, None)
    if budget is not None:
        config["adapt"]["budget"] = budget
    with file_of(network) as path, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "target.onnx"
        run_derive(path, config, out=out, arch=arch, weights_from=None)
        return load(out)


@telling
def tune(
    network: Given,
    *,
    data: str,
    task: str | None = None,
    recipe: str | None = None,
    head: str | None = None,
    out: Folder | None = None,
    settings: TuneSettings | None = None,
    **more: Any,
) -> Tuned:
    """Fine-tune a network on a data set; a seed gets a head for the set's classes first.

    network  in memory, a file, or the name of a seed (``bundled``)
    data     SPEC; with ``pictures:FOLDER``, images without labels, ``teacher`` names the network to
             learn from
    recipe   settings by name, or a YAML file; what is given here holds
    out      folder of the run; None: ``runs/tune``
    """
    from fnac.adaptation.settings import with_recipe
    from fnac.adaptation.single_stages import run_tune
    from fnac.stages.exporting.settings import is_model_file

    config = _config(task, data, tune=_said(settings, more))
    if head is not None:
        config["expand"] = {"head": head}
    if recipe is not None:
        config["adapt"]["seed"] = "given"
        config = with_recipe(config, recipe)
        del config["adapt"]["seed"]
    if not isinstance(network, Network) and not is_model_file(str(network)):
        told = run_tune(str(network), config, out=_folder(out), resume=False)
    else:
        with file_of(network) as path:
            told = run_tune(path, config, out=_folder(out), resume=False)
    output = Path(told["output"])
    figures: dict[str, Any] = {key: told[key] for key in ("steps", "weights")}
    if "curve" in told:  # images without labels
        figures |= {"metric": "error", "value": told["error"], "loss": None}
    else:
        figures |= {"metric": told["metric"], "value": told["val"], "loss": told["loss"]}
    return Tuned(load(output), output.parent, **figures)


@telling
def emit(
    network: Given,
    *,
    data: str | None = None,
    out: Folder | None = None,
    settings: EmitSettings | None = None,
    **more: Any,
) -> Network:
    """Return a network ready for onnxruntime: BN folded, answers inside (``fnac emit``).

    data  SPEC of images that ``int8=True`` is calibrated on
    out   file to write; the files that describe it lie beside it. None: none is kept
    """
    from fnac.adaptation.single_stages import run_emit

    config = _config(None, data, emit=_said(settings, more))
    with file_of(network) as path, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx" if out is None else Path(out)
        run_emit(path, config, out=file)
        return load(file)


@telling
def evaluate(
    network: Given,
    *,
    data: str,
    task: str | None = None,
    settings: EvalSettings | None = None,
    **more: Any,
) -> Evaluation:
    """Measure a network's metric in onnxruntime (``fnac eval``): ``split="test"``, ``limit=9``."""
    from fnac.adaptation.single_stages import run_eval

    config = _config(task, data, eval=_said(settings, more))
    with file_of(network) as path:
        return Evaluation.of(run_eval(path, config))


@telling
def predict(
    network: Given, images: Sequence[Any] | Any, boxes: Sequence[Sequence[float]] | None = None
) -> list[Answer]:
    """Predict on images: paths, folders, patterns, Pillow images or uint8 (H, W, 3) arrays, RGB.

    boxes  pose: x0, y0, x1, y1 of each person, the same for every image

    An answer has ``as_json()``, ``in_words()`` and ``draw(image)``, in the image's own pixels.
    """
    from fnac.stages.deployment.predict import find_images

    several = images if isinstance(images, list | tuple) else [images]
    network = network if isinstance(network, Network) else load(network)
    given: list[Any] = []
    for one in several:
        named = isinstance(one, str | os.PathLike)
        given += find_images([str(one)]) if named else [one]
    return [network.predict(one, boxes) for one in given]


@telling
def shrink(
    network: Given,
    *,
    budget: str = "0.6x",
    data: str,
    settings: ShrinkSettings | None = None,
    **more: Any,
) -> Network:
    """Make ``network`` cheaper without labels; ``more`` are settings of ``fnac shrink``.

    budget  of the whole network: ``0.6x``, ``300M`` (MAdds)
    data    SPEC of images to fit to, such as ``pictures:FOLDER``
    """
    from fnac.adaptation.shrink_file import ShrinkJob

    config = {"shrink": _said(settings, more), "adapt": {"budget": budget, "data": data}}
    return Network(ShrinkJob(graph_of(network), config).shrink().graph)


@telling
def adapt(
    network: Given | None = None,
    *,
    task: str | None = None,
    data: str | None = None,
    budget: str | None = None,
    recipe: str | None = None,
    out: Folder | None = None,
    **sections: Any,
) -> Run:
    """Adapt a seed, or a super network that was expanded, to its task; returns the run.

    network   a seed or a super network; None: the bundled seed
    sections  settings by stage: ``search={"epochs": 6}`` or ``search=SearchSettings(epochs=6)``

    Raises what the stages raise: UsageError, DataError, TrainingError, UnsupportedGraphError.
    """
    from fnac.adaptation.plan import SECTIONS, Plan
    from fnac.adaptation.settings import one_task, recipe_for
    from fnac.config import as_plain, differing, gather
    from fnac.flow import adapt as run

    graph = None if network is None else graph_of(network)
    said = {section: as_plain(differing(values)) for section, values in sections.items()}
    for section, values in said.items():
        if not isinstance(values, dict):
            raise UsageError(
                f"{section}: {values!r} was found; wanted settings of a section, as "
                f'tune={{"epochs": 3}}; the sections are {", ".join(SECTIONS)}'
            )
    task = task or (graph.manifest.get("task") if graph is not None else None)
    if recipe is None:
        task = task or "seg"
    name = "given" if graph is not None else None
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"data": data, "budget": budget}
        if graph is not None:
            options["seed"] = str(Network(graph).save(Path(folder) / "network.onnx"))
        settings = recipe_for(recipe, seed=name, task=task, data=data)
        merged = {**said, "adapt": {**said.get("adapt", {}), **options}}
        config = gather(recipe=settings, options=merged)
        config["adapt"]["task"] = one_task(task, config, settings, recipe)
        result = run(Plan.of(config), out=_folder(out))
    if result is None:
        raise UsageError("fnac.adapt runs in one process; use torchrun with the command line")
    return Run(
        folder=result.folder,
        model=load(result.folder / "model.onnx"),
        metric=result.value,
        metric_name=result.metric,
        seed=result.seed,
        target=result.target,
        findings=result.findings,
        baseline=result.baseline,
        per_class=result.per_class,
    )


def _folder(out: Folder | None) -> Path | None:
    return None if out is None else Path(out)
