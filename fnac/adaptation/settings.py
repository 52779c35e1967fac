"""Settings of an adaptation: sections ``adapt`` and ``eval``, and the recipe for the rest."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fnac.config import Config, merge, parse_size
from fnac.data.preprocessing import Stated, parse_stated
from fnac.errors import UsageError
from fnac.names import TASKS, known_name

if TYPE_CHECKING:
    from fnac.architectures.budget import Budget
    from fnac.data.source import DataSource

logger = logging.getLogger(__name__)

AUTO = "auto"
"""Sizes that fnac is to find by itself."""
LEAST = {
    **dict.fromkeys(("tries", "short_epochs", "finalists", "generations", "judge_images"), 1),
    **{"population": 2, "compared": 0},
}
"""Numbers of section ``adapt``, and the least that each may be."""
NARROWS_TUNED_SEED = ("measured", "uniform")
"""Strategies without a super network: the seed is tuned, and what is tuned is narrowed."""
SEARCHES = ("diff", "evolve")
"""Strategies that train a super network."""
NO_RECIPE = "none"
"""The recipe of who wants none."""


@dataclasses.dataclass(frozen=True)
class AdaptSettings:
    """What to adapt, to which task, data and budget.

    seed       an ONNX file, or the name of a seed; default: export.seed, else the bundled one
    task       seg, det, pose or cls
    data       SPEC of the data set; default: built-in scenes
    skip_bad   leave out samples whose annotations are wrong, instead of refusing the data set
    budget     of the whole network, head included; default: the cost of the seed with this head;
               none: the most probable candidate of every layer, whatever it costs
    budget_of  what the budget counts: madds, params or latency
    latency_table  file of latencies measured before; default: measured when it is needed
    recipe     the recipe's name, for the record
    calibrate  images that a restored BatchNorm is calibrated on
    no_verify  skip the proof after every pass
    strategy   how the target's architecture is chosen: measured (the tuned seed is shrunk), diff
               (the paper's search), random (the best of ``tries`` random ones), sample (one random
               one), evolve (evolution on the trained super network), uniform (the tuned seed,
               every block at the same share: a control), seed (the seed's own)
    seed_share  share of the tuning epochs that ``measured`` spends on the seed before it shrinks it
    baseline   also fine-tune the seed's own architecture with the same schedule and measure it
    tries      architectures that ``random`` briefly tunes
    short_epochs  epochs of a short tuning
    finalists  architectures that ``measured`` briefly tunes, in rounds: the better half continues
               for twice as many epochs; at least one per input size
    sizes      input sizes that ``measured`` and ``random`` choose from, 160x160,192x192, or auto:
               around the seed's own, none larger than the images of the data
    output_strides  output strides of the backbone that they choose from: 8, 16, 32
    population  architectures of a generation of ``evolve``
    generations  generations of ``evolve``, the first of them random
    judge_images  held-out images on which ``evolve`` scores an architecture
    compared   random architectures of the target's cost with which ``measured`` and ``diff``
               compare their choice (search/health.json); 0: none
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
    no_verify: bool = False
    strategy: Literal["measured", "diff", "random", "sample", "evolve", "uniform", "seed"] = "diff"
    baseline: bool = True
    seed_share: float = 0.5
    tries: int = 8
    short_epochs: int = 2
    finalists: int = 3
    sizes: str | None = None
    output_strides: tuple[int, ...] = ()
    population: int = 16
    generations: int = 5
    judge_images: int = 128
    compared: int = 0

    def __post_init__(self) -> None:
        known_name("--task", self.task, TASKS)
        self._check_inputs()
        if not 0 < self.seed_share < 1:
            raise UsageError(f"adapt.seed_share {self.seed_share:g}: wanted a share in (0, 1)")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"adapt.{name} {getattr(self, name)}: wanted at least {least}")

    def _check_inputs(self) -> None:
        """Refuse sizes and output strides that cannot be chosen from."""
        if self.sizes is None and not self.output_strides:
            return
        option = "--output-strides" if self.sizes is None else "--sizes"
        if self.strategy not in (*NARROWS_TUNED_SEED, "random"):
            raise UsageError(
                f"{option}: --strategy {self.strategy} chooses at one size; take --strategy "
                "measured or random, or one --size"
            )
        if self.budget_of == "params":
            raise UsageError(
                f"{option}: larger images cost nothing in params; give the budget in MAdds"
            )
        if self.budget_of == "latency" and self.strategy not in NARROWS_TUNED_SEED:
            raise UsageError(
                f"{option}, --budget-of latency: --strategy {self.strategy} knows latencies at one "
                "size only; take --strategy measured, or a budget in MAdds"
            )
        if any(stride not in (8, 16, 32) for stride in self.output_strides):
            said = ",".join(map(str, self.output_strides))
            raise UsageError(f"--output-strides {said}: wanted some of 8, 16, 32")
        if self.sizes not in (None, AUTO):
            sizes = [parse_size(one.strip()) for one in str(self.sizes).split(",")]
            if min(min(size) for size in sizes) < 32:
                raise UsageError(f"--sizes {self.sizes}: wanted at least 32x32")

    def parsed_budget(self) -> Budget | None:
        """Return the budget, by default the seed's own cost; None: there is none (``none``)."""
        from fnac.architectures.budget import parse_budget

        if self.budget == "none":
            return None
        return parse_budget("1x" if self.budget is None else self.budget, self.budget_of)


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """What to measure.

    split       of the data set
    size        (H, W) of the images; default: the network's
    limit       use only this many images, the first ones
    batch_size  images at once
    mean        of the preprocessing, on pixels / 255, or imagenet, tf, caffe; default: the file's
    std         of the preprocessing, on pixels / 255
    classes_map  YAML file that maps classes of the data set to those of the network, or by-name;
                 for a network that was made for another data set
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
            raise UsageError(f"--limit {self.limit}: wanted at least 1 image")
        if self.batch_size < 1:
            raise UsageError(f"eval.batch_size {self.batch_size}: wanted at least 1 image")


def task_named(config: Config) -> str | None:
    """Return the task of a configuration or a recipe, if it names one."""
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
        raise UsageError("--task: wanted seg, det, pose or cls, or a --recipe that is for one")
    of_recipe = None if recipe is None else task_named(recipe)
    if of_recipe not in (None, task):
        raise UsageError(f"--task {task}: recipe {name} is for {of_recipe}; take another recipe")
    return task


def recipe_for(
    name: str | None, *, seed: str | None, task: str | None, data: str | None
) -> Config | None:
    """Return the settings of recipe ``name`` (or file); without one, the built-in job's recipe.

    The built-in recipe is tuned for the built-in scenes: with other ``data``, and with ``none``,
    the settings' own defaults hold, which are for real data sets.
    """
    from fnac.models.errors import ModelError
    from fnac.models.recipes import load_recipe, recipe_names

    if name == NO_RECIPE:
        return {"adapt": {"recipe": NO_RECIPE}}
    if name is None:
        if not of_scenes(data) or task is None:
            return None
        name = f"builtin-{task}"
        logger.info(
            "recipe %s, because the data are the built-in scenes; --recipe %s takes the settings' "
            "own defaults",
            name,
            NO_RECIPE,
        )
        if name not in recipe_names():
            raise UsageError(
                f"--task {task}: there is no built-in job for it; known: "
                + ", ".join(
                    n.removeprefix("builtin-") for n in recipe_names() if n.startswith("builtin-")
                )
            )
    if not name.endswith((".yaml", ".yml")):
        known_name("--recipe", name, [*recipe_names(), NO_RECIPE], also=", or a YAML file")
    try:
        loaded = load_recipe(Path(name).expanduser() if name.endswith("ml") else name)
    except ModelError as error:
        raise UsageError(f"--recipe {name}: {error}") from error
    recipe = {section: dict(values) for section, values in loaded.items()}
    recipe.setdefault("adapt", {})["recipe"] = name
    if seed is not None:
        recipe.pop("export", None)
    return recipe


def task_of(manifest: Mapping[str, Any]) -> str:
    """Return the task that a network's manifest names; seg if it names none."""
    return str(manifest.get("task") or "seg")


def open_source(settings: AdaptSettings) -> DataSource:
    """Open the data set that the settings name; without one, the built-in scenes."""
    from fnac.data.spec import open_data

    return open_data(settings.data, settings.task, skip_bad=settings.skip_bad)


def of_scenes(data: str | None) -> bool:
    """Say whether a SPEC names the built-in scenes."""
    return data is None or data.partition(":")[0] == "scenes"


def with_recipe(given: Config, name: str | None) -> Config:
    """Return the settings of recipe ``name`` (None: the built-in job's), then those given.

    Raises UsageError where no task is named, or two are.
    """
    said, adapt = task_named(given), given.get("adapt", {})
    recipe = recipe_for(name, seed=adapt.get("seed"), task=said, data=adapt.get("data"))
    config = merge(recipe or {}, given)
    config.setdefault("adapt", {})["task"] = one_task(said, config, recipe, name)
    return config
