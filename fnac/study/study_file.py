"""The file of a study: runs, or a grid of settings, times random seeds.

recipe: builtin-seg            # settings of all runs start from it; optional
common:                        # settings of all runs
  adapt: {task: seg, data: "camvid:/data/camvid"}
runs:                          # each run's own settings, by its name
  seed: {adapt: {strategy: seed}}
  half: {adapt: {strategy: measured, budget: 0.5x}}
grid:                          # instead of runs, or beside them: all combinations
  adapt.strategy: [measured, random]
  adapt.budget: [1x, 0.5x]
random_seeds: [0, 1, 2]
reference: seed                # run that the others are held against; optional
processes: 2                   # runs at once, where Ray is installed
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fnac.adaptation.settings import with_recipe
from fnac.config import Config, merge
from fnac.errors import UsageError
from fnac.passes.names import did_you_mean

KEYS = ("recipe", "common", "runs", "grid", "random_seeds", "reference", "processes")
RANDOM_SEEDS = ("export", "expand", "search", "tune")
"""Sections whose ``random_seed`` is the run's."""


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """One adaptation of a study: the settings called ``name`` with one random seed."""

    name: str
    random_seed: int
    config: Config = dataclasses.field(compare=False, repr=False)

    @property
    def folder(self) -> str:
        """Name its run folder."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', self.name)}-{self.random_seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """The content of a study file: runs in order, the reference run, parallel runs."""

    runs: tuple[StudyRun, ...]
    reference: str | None = None
    processes: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are compared, in the file's order."""
        return tuple(dict.fromkeys(run.name for run in self.runs))


def read_study(path: Path, given: Config | None = None) -> Study:
    """Read a study file; ``given`` are settings of the command line for all runs.

    Raises UsageError naming the file, what was found and what is understood.
    """
    content = _content(path)
    common = merge(_sections(content.get("common"), path, "common"), given or {})
    named = {
        name: _sections(sections, path, f"runs.{name}")
        for name, sections in _mapping(content.get("runs"), path, "runs").items()
    }
    named.update(_grid(_mapping(content.get("grid"), path, "grid"), path))
    if not named:
        raise UsageError(f"{path}: it names no run; wanted runs, or a grid of settings")
    random_seeds = _random_seeds(content.get("random_seeds", [0]), path)
    reference = content.get("reference")
    if reference is not None and reference not in named:
        raise UsageError(
            f"{path}: reference {reference!r} is not a run{did_you_mean(str(reference), named)}; "
            f"known: {', '.join(named)}"
        )
    processes = content.get("processes", 1)
    if not isinstance(processes, int) or processes < 1:
        raise UsageError(f"{path}: processes {processes!r}: wanted a whole number, at least 1")
    runs = tuple(
        StudyRun(name, seed, _config(common, sections, seed, content.get("recipe")))
        for name, sections in named.items()
        for seed in random_seeds
    )
    folders = [run.folder for run in runs]
    if len(set(folders)) < len(folders):
        raise UsageError(f"{path}: two runs would share a folder; give them names that differ more")
    return Study(runs, None if reference is None else str(reference), processes)


def _content(path: Path) -> dict[str, Any]:
    import yaml

    from fnac.models.yaml_text import load_yaml

    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: wanted a mapping with {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            close = did_you_mean(str(key), KEYS)
            raise UsageError(f"{path}: {key}: no such key{close}; known: {', '.join(KEYS)}")
    return content


def _mapping(value: Any, path: Path, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{path}: {where}: {value!r} was found; wanted a mapping")
    return {str(key): one for key, one in value.items()}


def _sections(value: Any, path: Path, where: str) -> Config:
    """Return settings by section; ``section.key: value`` is understood as well."""
    sections: Config = {}
    for key, one in _mapping(value, path, where).items():
        section, dot, name = key.partition(".")
        inner = {name: one} if dot else _mapping(one, path, f"{where}.{key}")
        sections = merge(sections, {section: inner})
    return sections


def _grid(grid: dict[str, Any], path: Path) -> dict[str, Config]:
    """Return every combination of the grid's values, named after them."""
    for key, values in grid.items():
        if "." not in key or not isinstance(values, list) or not values:
            raise UsageError(
                f"{path}: grid.{key}: wanted a setting and a list of its values, e.g. "
                "adapt.budget: [1x, 0.5x]"
            )
    combinations = itertools.product(*grid.values()) if grid else ()
    return {
        " ".join(map(str, values)): _sections(dict(zip(grid, values, strict=True)), path, "grid")
        for values in combinations
    }


def _random_seeds(value: Any, path: Path) -> Sequence[int]:
    seeds: list[int] = []
    if isinstance(value, list):
        seeds = [one for one in value if type(one) is int and one >= 0]
    if not seeds or len(set(seeds)) < len(value):
        raise UsageError(
            f"{path}: random_seeds {value!r}: wanted a list of different whole numbers, e.g. "
            "[0, 1, 2]"
        )
    return seeds


def _config(common: Config, own: Config, seed: int, recipe: Any) -> Config:
    seeds = {section: {"random_seed": seed} for section in RANDOM_SEEDS}
    return with_recipe(merge(common, seeds, own), None if recipe is None else str(recipe))
