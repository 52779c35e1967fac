"""What is adapted to what: the settings of `adapt`, its recipe, data and task, and its outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fnac.config import Config, build, read_yaml
from fnac.data.preprocessing import Stated, parse_stated
from fnac.errors import UsageError
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from fnac.architectures.budget import Budget
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class AdaptSettings:
    """What is adapted to what.

    seed       an ONNX file, or the name of a seed; default: the bundled one
    task       seg, det, pose or cls
    data       SPEC of the data set; default: built-in scenes
    skip_bad   leave out samples whose annotations are wrong, instead of refusing the data set
    budget     of the whole network, head included; default: the cost of the seed with this head;
               none: the likeliest candidate of every layer, whatever it costs
    budget_of  what the budget counts: madds, params or latency
    latency_table  file of latencies measured before; default: measured when it is needed
    recipe     the recipe's name, for the record
    calibrate  pictures that restored BN is calibrated on
    """

    section: ClassVar[str] = "adapt"

    seed: str | None = None
    task: str = "seg"
    data: str | None = None
    skip_bad: bool = False
    budget: str | None = None
    budget_of: str = "madds"
    latency_table: Path | None = None
    recipe: str | None = None
    calibrate: int = 200

    def __post_init__(self) -> None:
        from fnac.tasks import TASKS

        if self.task not in TASKS:
            raise UsageError(f"--task {self.task}: known: {', '.join(TASKS)}")

    def parsed_budget(self) -> Budget | None:
        """Return the budget, by default the seed's own cost; None: there is none (``none``)."""
        from fnac.architectures.budget import parse_budget

        if self.budget == "none":
            return None
        return parse_budget("1x" if self.budget is None else self.budget, self.budget_of)

    def latencies(self, network: Path, keep: Path) -> dict[str, Any] | None:
        """Return the latency table that the budget needs, if it needs one.

        It is read from ``latency_table``, else from ``keep``, else measured on the super network
        and kept there.
        """
        if self.budget_of != "latency":
            return None
        from fnac.architectures.latency import measure_latency, read_latency
        from fnac.config import write_json

        if self.latency_table is not None:
            return read_latency(self.latency_table)
        if not keep.exists():
            write_json(keep, measure_latency(Graph.load(network)))
        return read_latency(keep)


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """What is measured.

    split       of the data set
    size        (H, W) of the images; default: the network's
    limit       use the first so many pictures only
    batch_size  pictures at once
    mean        of the preprocessing, on pixels / 255, or imagenet, tf, caffe; default: the file's
    std         of the preprocessing, on pixels / 255
    classes_map  YAML file that says which class of the data set is which of the network, or
                 by-name; for a network that was made for another data set
    """

    section: ClassVar[str] = "eval"

    split: str = "val"
    size: tuple[int, int] | None = None
    limit: int | None = None
    batch_size: int = 1
    mean: Stated | None = None
    std: Stated | None = None
    classes_map: str | None = None

    def __post_init__(self) -> None:
        parse_stated(self.mean, self.std)
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: wanted at least 1 picture")
        if self.batch_size < 1:
            raise UsageError(f"eval.batch_size {self.batch_size}: wanted at least 1 picture")


def task_named(config: Config) -> str | None:
    """Return the task that a configuration or a recipe is for, if it says so."""
    for section in ("adapt", "expand"):
        task = config.get(section, {}).get("task")
        if task is not None:
            return str(task)
    return None


def one_task(said: str | None, config: Config, recipe: Config | None, name: str | None) -> str:
    """Return the task of an adaptation; UsageError if none is named, or two are.

    said    on the command line; config: all settings together; recipe: those of recipe ``name``
    """
    task = said or task_named(config)
    if task is None:
        raise UsageError("--task: seg, det, pose or cls is wanted, or a --recipe that is for one")
    of_recipe = None if recipe is None else task_named(recipe)
    if of_recipe not in (None, task):
        raise UsageError(f"--task {task}: recipe {name} is for {of_recipe}; take another recipe")
    return task


def task_of_run(run: Path | None) -> str | None:
    """Return the task of the run folder that is continued; None where no run was begun."""
    begun = None if run is None else run / "config.yaml"
    if begun is None or not begun.is_file():
        return None
    return task_named(read_yaml(begun))


def recipe_for(
    name: str | None, *, seed: str | None, task: str | None, data: str | None
) -> Config | None:
    """Return the settings of recipe ``name`` (or file); without one, the built-in job's recipe.

    The built-in recipe is tuned for the built-in scenes: with ``data``, the settings' own defaults
    hold, which are for real data sets.
    """
    from fnac.models.errors import ModelError
    from fnac.models.recipes import load_recipe, recipe_names

    if name is None:
        if data is not None or task is None:
            return None
        name = f"builtin-{task}"
        if name not in recipe_names():
            raise UsageError(
                f"--task {task}: there is no built-in job for it; known: "
                + ", ".join(
                    n.removeprefix("builtin-") for n in recipe_names() if n.startswith("builtin-")
                )
            )
    try:
        loaded = load_recipe(name)
    except ModelError as error:
        raise UsageError(f"--recipe {name}: {error}") from error
    recipe = {section: dict(values) for section, values in loaded.items()}
    recipe.setdefault("adapt", {})["recipe"] = name
    if seed is not None:
        recipe.pop("export", None)
    return recipe


def adapt_settings(config: Config, task: str) -> AdaptSettings:
    """Read section ``adapt``; ``task`` holds where it names none."""
    section = {"task": task, **config.get("adapt", {})}
    return build(AdaptSettings, section, "adapt")


def task_of(model: Path) -> str:
    """Return the task that a file's manifest names; seg if it names none."""
    return str(Graph.load(model).manifest.get("task") or "seg")


def open_source(settings: AdaptSettings) -> DataSource:
    """Open the data set that the settings name; without one, the built-in scenes."""
    from fnac.data.spec import open_data

    return open_data(settings.data, settings.task, skip_bad=settings.skip_bad)


def task_for(
    settings: AdaptSettings,
    source: DataSource,
    config: Config,
    manifest: Mapping[str, Any] | None = None,
) -> Task:
    """Return the task that ``settings`` name on ``source``, for the network of ``manifest``."""
    from fnac.tasks import make_task, settings_kind

    how = build(settings_kind(settings.task), config.get("task", {}), "task")
    return make_task(settings.task, source, manifest, how)
