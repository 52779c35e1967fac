"""The table of a study: each run's figures, and mean and deviation over the random seeds."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnac.passes.files import write_atomically
from fnac.study.one_run import RUNS, read_results
from fnac.study.study_file import Study
from fnac.text import human


@dataclasses.dataclass(frozen=True)
class Figures:
    """The figures of one run; ``baseline`` and ``before`` if they were measured."""

    name: str
    random_seed: int
    folder: Path
    metric: str
    value: float
    madds: int
    params: int
    baseline: float | None
    before: float | None
    size: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: a name's figures over its random seeds."""

    name: str
    metric: str
    values: tuple[float, ...]
    madds: float
    params: float
    baseline: float | None
    seconds: float

    @property
    def mean(self) -> float:
        """The mean of the metric."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def collect(study: Study, folder: Path) -> list[Figures]:
    """Return the figures of every run that is done, in the file's order."""
    done = []
    for run in study.runs:
        out = folder / RUNS / run.folder
        results = read_results(out)
        if results is not None:
            done.append(figures_of(run.name, run.random_seed, out, results))
    return done


def figures_of(name: str, random_seed: int, out: Path, results: dict[str, Any]) -> Figures:
    """Return the figures of the finished run in ``out``; results: its results.json."""
    target, baseline = results["target"], results.get("baseline")
    size = "x".join(map(str, target["size"])) if "size" in target else ""
    times = read_times(out)
    return Figures(
        name, random_seed, out, results["metric"]["name"], float(results["metric"]["value"]),
        int(target["madds"]), int(target["params"]),
        None if baseline is None else float(baseline["value"]),
        target.get("before_tuning"), size, sum(times.values()),
    )  # fmt: skip


def read_times(out: Path) -> dict[str, float]:
    """Return the seconds of each stage of a run."""
    import json

    path = out / "times.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def rows(study: Study, figures: Sequence[Figures]) -> list[Row]:
    """Return a line for each name that has a finished run."""
    lines = []
    for name in study.names:
        own = [one for one in figures if one.name == name]
        if not own:
            continue
        controls = [one.baseline for one in own if one.baseline is not None]
        lines.append(
            Row(
                name,
                own[0].metric,
                tuple(one.value for one in own),
                statistics.fmean(one.madds for one in own),
                statistics.fmean(one.params for one in own),
                statistics.fmean(controls) if controls else None,
                statistics.fmean(one.seconds for one in own),
            )
        )
    return lines


def as_markdown(lines: Sequence[Row], reference: str | None) -> str:
    """Return the table for people: mean and deviation, cost, difference to the reference."""
    against = next((line.mean for line in lines if line.name == reference), None)
    head = ["run", lines[0].metric if lines else "metric", "n", "MAdds", "params", "control"]
    head += [f"against {reference}"] if against is not None else []
    head.append("seconds")
    table = [head, ["---"] * len(head)]
    for line in lines:
        value = f"{line.mean:.2f}"
        if line.deviation is not None:
            value += f" ± {line.deviation:.2f}"
        control = "" if line.baseline is None else f"{line.baseline:.2f}"
        cells = [line.name, value, str(len(line.values)), human(round(line.madds))]
        cells += [human(round(line.params)), control]
        cells += [f"{line.mean - against:+.2f}"] if against is not None else []
        table.append([*cells, f"{line.seconds:.0f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table) + "\n"


def write_tables(study: Study, folder: Path) -> tuple[list[Figures], list[Row]]:
    """Write ``table.md``, ``table.csv`` (one line per name) and ``runs.csv`` (one per run)."""
    figures = collect(study, folder)
    lines = rows(study, figures)
    write_atomically(folder / "table.md", as_markdown(lines, study.reference).encode())
    head = ("run", "metric", "mean", "deviation", "n", "madds", "params", "control", "seconds")
    table = [
        (
            *(one.name, one.metric, f"{one.mean:.4f}"),
            "" if one.deviation is None else f"{one.deviation:.4f}",
            *(len(one.values), round(one.madds), round(one.params)),
            "" if one.baseline is None else f"{one.baseline:.4f}",
            round(one.seconds, 1),
        )
        for one in lines
    ]
    write_atomically(folder / "table.csv", _csv(head, table))
    keys = [field.name for field in dataclasses.fields(Figures) if field.name != "folder"]
    each = [["" if (v := getattr(one, key)) is None else v for key in keys] for one in figures]
    write_atomically(folder / "runs.csv", _csv(keys, each))
    return figures, lines


def _csv(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(head)
    table.writerows(lines)
    return text.getvalue().encode()
