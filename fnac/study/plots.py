"""The plots of a study: cost against metric with the Pareto front, and convergence."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.study.table import Figures, Row
from fnac.text import human

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
FRONT = "#d1495b"


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto points (cost, metric), in the order of cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def write_plots(figures: Sequence[Figures], lines: Sequence[Row], folder: Path) -> None:
    """Write ``cost.png`` and, if the runs measured during tuning, ``convergence.png``."""
    if not lines:
        return
    figure, axes = _figure(f"MAdds against {lines[0].metric}")
    for line in lines:
        own = [one for one in figures if one.name == line.name]
        axes.plot([one.madds for one in own], [one.value for one in own], ".", alpha=0.4, color="k")
        axes.errorbar(line.madds, line.mean, yerr=line.deviation, fmt="o", label=line.name)
    front = pareto([(line.madds, line.mean) for line in lines])
    axes.step(*zip(*front, strict=True), where="post", color=FRONT, lw=1, label="Pareto front")
    axes.set_xlabel("MAdds, whole network")
    axes.set_ylabel(f"{lines[0].metric}, %")
    axes.xaxis.set_major_formatter(lambda value, _: human(round(value)))
    _save(figure, axes, folder / "cost.png")
    curves = {line.name: _curve(line.name, figures) for line in lines}
    if not any(curves.values()):
        return
    figure, axes = _figure("Validation during the last tuning, mean of the random seeds")
    for name, curve in curves.items():
        if curve:
            axes.plot(*zip(*curve, strict=True), "o-", ms=3, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(f"{lines[0].metric}, %")
    _save(figure, axes, folder / "convergence.png")


def _curve(name: str, figures: Sequence[Figures]) -> list[tuple[int, float]]:
    """Return step and validation metric, the mean of the runs that measured at that step."""
    measured: dict[int, list[float]] = {}
    own = [one for one in figures if one.name == name]
    for one in own:
        path = one.folder / "tune" / "metrics.csv"
        if not path.exists():
            continue
        with path.open() as file:
            for row in csv.DictReader(file):
                value = row.get(f"val_{one.metric}")
                if value:
                    measured.setdefault(int(row["step"]), []).append(float(value))
    return [(step, sum(values) / len(values)) for step, values in sorted(measured.items())]


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Software": None})
