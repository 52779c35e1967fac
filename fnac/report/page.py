"""Put the report together: read the run folder, draw, write `pictures/` and `report.html`."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from fnac.report import plots
from fnac.report.architecture import draw_architectures
from fnac.report.drawing import Drawing
from fnac.report.html import Html, element, join, raw
from fnac.report.parts.changes import architecture
from fnac.report.parts.costs import stages, trade_off
from fnac.report.parts.facts import fact, metric_of
from fnac.report.parts.files import files as files_of_run
from fnac.report.parts.folded import folded
from fnac.report.parts.per_class import per_class
from fnac.report.parts.predictions import predictions
from fnac.report.parts.training import training
from fnac.report.parts.verdict import header, title
from fnac.report.run_folder import RunFolder, read_run_folder

log = logging.getLogger(__name__)

PARTS = {
    "files": "Files",
    "predictions": "Predictions",
    "classes": "Classes",
    "architecture": "Architecture",
    "cost": "Cost",
    "trade-off": "Trade-off",
    "training": "Training",
    "details": "Details",
}
"""Parts of the page in their order: anchor -> name in the contents."""
OF_ONE_STAGE = ("files", "training", "details")
"""Parts that a run of `fnac tune` or `search` alone has."""


def write_page(folder: Path) -> Path:
    """Write `report.html` and `pictures/*.png`; returns the page. See `fnac.report`."""
    from fnac.passes.files import write_atomically

    run = read_run_folder(folder)
    drawing = _drawing(run)
    charts = _charts(run)
    for chart in itertools.chain(*charts.values()):
        write_atomically(folder / "pictures" / f"{chart.name}.png", chart.light)
    if drawing is not None:
        picture = plots.architecture_picture(drawing)
        write_atomically(folder / "pictures" / "architecture.png", picture)
    parts = {
        "files": files_of_run(run),
        "predictions": predictions(run),
        "classes": per_class(run, charts["classes"]),
        "architecture": architecture(run, drawing),
        "cost": stages(run, charts["stages"]),
        "trade-off": trade_off(charts["tried"]),
        "training": training(run, charts["tuning"], charts["search"]),
        "details": folded(run),
    }
    if run.single:  # it has no other parts
        parts = {anchor: parts[anchor] for anchor in OF_ONE_STAGE}
    shown = {anchor: part for anchor, part in parts.items() if part}
    names = {**PARTS, "classes": "Joints"} if fact(run, "task") == "pose" else PARTS
    body = join([header(run), _contents(names, shown), *shown.values()])
    page = folder / "report.html"
    write_atomically(page, _document(f"fnac: {title(run)}", body).encode("utf-8"))
    log.info("report: %s", page)
    return page


def _contents(names: Mapping[str, str], anchors: Iterable[str]) -> Html:
    """Links to the parts."""
    return element("nav", join([element("a", names[a], href=f"#{a}") for a in anchors]))


def _drawing(run: RunFolder) -> Drawing | None:
    if run.network is None:
        return None
    rows = [("Seed", run.network.seed_choices)]
    if run.arch is not None:
        rows.append(("Target", run.arch))
    return draw_architectures(run.network, rows)


def _charts(run: RunFolder) -> dict[str, list[plots.Picture]]:
    """Draw the charts of each part of the page, as far as their data is there."""
    charts: dict[str, list[plots.Picture]] = {
        part: [] for part in ("classes", "stages", "tried", "tuning", "search")
    }
    names = [str(one["name"]) for one in run.results.get("per_class") or []]
    matrix, curves = run.results.get("confusion"), run.results.get("precision_recall")
    if isinstance(matrix, list) and len(matrix) == len(names):
        charts["classes"].append(plots.confusion(matrix, names))
    if isinstance(curves, dict) and curves:
        charts["classes"].append(plots.precision_recall(curves))
    if run.network is not None:
        choices = run.network.seed_choices
        charts["stages"].append(plots.stage_madds(run.network, choices, run.arch))
    points = _tried(run)
    if len(points) > 1:
        metric = metric_of(run)
        charts["tried"].append(plots.tried(points, metric[0] if metric else "the metric"))
    if run.search is not None:
        charts["search"] += plots.search_pictures(run.search, run.network)
    if run.alphas:
        charts["search"].append(plots.alphas_picture(run.alphas, run))
    if run.tune is not None:
        charts["tuning"] += plots.tuning_pictures(run.tune)
    return charts


def _tried(run: RunFolder) -> list[plots.Tried]:
    """Return the architectures that were judged, with their cost and last score."""
    points = []
    for row in run.candidates:
        if not row.get("score"):
            continue
        kind = (
            "chosen" if row.get("chosen") == "1" else "random" if row.get("random") == "1" else ""
        )
        points.append(plots.Tried(int(row["madds"]), float(row["score"]), kind))
    return points


def _document(title: str, body: object) -> str:
    style = files("fnac.report").joinpath("style.css").read_text(encoding="utf-8")
    head = join(
        [
            raw('<meta charset="utf-8">'),
            raw('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            element("style", raw(style)),
        ]
    )
    page = [
        raw('<!doctype html>\n<html lang="en">'),
        element("head", head),
        element("body", body),
        raw("</html>\n"),
    ]
    return join(page)
