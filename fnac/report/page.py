"""Put the report together: read the run folder, draw, write `pictures/` and `report.html`."""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path

from fnac.report import plots, sections
from fnac.report.architecture import draw_architectures
from fnac.report.drawing import Drawing
from fnac.report.html import element, join, raw
from fnac.report.ledger import ledger
from fnac.report.run_folder import RunFolder, read_run_folder

log = logging.getLogger(__name__)


def write_page(folder: Path) -> Path:
    """Write `report.html` and `pictures/*.png`; returns the page. See `fnac.report`."""
    from fnac.passes.files import write_atomically

    run = read_run_folder(folder)
    drawing = _drawing(run)
    by_stage, of_search, of_tuning = _charts(run)
    for chart in (*by_stage, *of_search, *of_tuning):
        write_atomically(folder / "pictures" / f"{chart.name}.png", chart.light)
    if drawing is not None:
        picture = plots.architecture_picture(drawing)
        write_atomically(folder / "pictures" / "architecture.png", picture)
    body = join(
        [
            sections.header(run),
            sections.findings(run),
            sections.architecture(run, drawing),
            sections.stages(run, by_stage),
            sections.search(run, of_search),
            sections.tuning(run, of_tuning),
            sections.predictions(run),
            ledger(run),
            sections.environment(run),
        ]
    )
    page = folder / "report.html"
    write_atomically(page, _document(f"fnac: {folder.resolve().name}", body).encode("utf-8"))
    log.info("report: %s", page)
    return page


def _drawing(run: RunFolder) -> Drawing | None:
    if run.network is None:
        return None
    rows = [("Seed", run.network.seed_choices)]
    if run.arch is not None:
        rows.append(("Target", run.arch))
    return draw_architectures(run.network, rows)


def _charts(
    run: RunFolder,
) -> tuple[list[plots.Picture], list[plots.Picture], list[plots.Picture]]:
    """Charts by stage, of the search and of the tuning, as far as their data is there."""
    by_stage, of_search, of_tuning = [], [], []
    if run.network is not None:
        by_stage.append(plots.stage_madds(run.network, run.network.seed_choices, run.arch))
    if run.search is not None:
        of_search += plots.search_pictures(run.search, run.network)
    if run.alphas:
        of_search.append(plots.alphas_picture(run.alphas, run))
    if run.tune is not None:
        of_tuning += plots.tuning_pictures(run.tune)
    return by_stage, of_search, of_tuning


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
