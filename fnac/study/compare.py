"""Compare runs: their results, and the settings in which they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fnac.errors import UsageError
from fnac.models.yaml_text import load_yaml
from fnac.study.one_run import read_results
from fnac.study.table import Figures, figures_of
from fnac.text import human, table
from fnac.training.settings import NO_MATTER

CONFIG = "config.yaml"
NOT_COMPARED = (*NO_MATTER, "version", "recipe")
"""Settings in which runs may differ without another result."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs.

    figures   what each ended with, in the order in which they were named
    settings  ``section.key`` -> its value in each run, for those that differ
    """

    figures: tuple[Figures, ...]
    settings: Mapping[str, tuple[Any, ...]]

    def as_json(self) -> dict[str, Any]:
        """Return what ``fnac compare --json`` prints."""
        runs = [{**dataclasses.asdict(one), "folder": str(one.folder)} for one in self.figures]
        return {"runs": runs, "settings": {key: list(v) for key, v in self.settings.items()}}

    def as_text(self) -> str:
        """Return the two tables: figures against the first run, settings that differ."""
        first = self.figures[0]
        head = ["run", first.metric, "change", "MAdds", "params", "baseline", "size", "minutes"]
        rows = []
        for one in self.figures:
            same = one.metric == first.metric
            rows.append(
                [
                    one.name,
                    f"{one.value:.2f}" if same else f"{one.value:.2f} ({one.metric})",
                    f"{one.value - first.value:+.2f}" if same and one is not first else "",
                    human(one.madds),
                    human(one.params),
                    "" if one.baseline is None else f"{one.baseline:.2f}",
                    one.size,
                    f"{one.seconds / 60:.1f}",
                ]
            )
        kept = [at for at in range(len(head)) if at < 2 or any(row[at] for row in rows)]
        text = table([head[at] for at in kept], [[row[at] for at in kept] for row in rows])
        if not self.settings:
            return f"{text}\n\nthe runs have the same settings"
        names = [one.name for one in self.figures]
        differing = [[key, *map(_shown, values)] for key, values in self.settings.items()]
        return f"{text}\n\n{table(['setting', *names], differing)}"


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read finished runs; raises UsageError for a folder without results."""
    figures, configs = [], []
    for folder, name in zip(folders, _names(folders), strict=True):
        results = read_results(folder)
        if results is None:
            raise UsageError(
                f"{folder}: no results.json is here; wanted the folder of a finished fnac adapt"
            )
        config = _settings(folder / CONFIG)
        seed = int(config.get("tune.random_seed", 0))
        figures.append(figures_of(name, seed, folder, results))
        configs.append(config)
    keys = list(dict.fromkeys(key for config in configs for key in config))
    settings = {}
    for key in keys:
        values = tuple(config.get(key) for config in configs)
        if key.rpartition(".")[2] not in NOT_COMPARED and any(v != values[0] for v in values):
            settings[key] = values
    return Comparison(tuple(figures), settings)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, or whole paths where names are not unique."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _settings(path: Path) -> dict[str, Any]:
    """Return ``section.key`` -> value of a run's configuration; empty without one."""
    if not path.is_file():
        return {}
    content = load_yaml(path.read_text(encoding="utf-8"))
    return {
        f"{section}.{key}": value
        for section, values in content.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "–" if value is None else str(value)
