"""How did it train? Curves of the search and of the tuning."""

from __future__ import annotations

from collections.abc import Sequence

from fnac.report.html import Html, element, join, missing, section
from fnac.report.plots import Picture
from fnac.report.run_folder import RunFolder
from fnac.text import duration


def training(run: RunFolder, of_tuning: Sequence[Picture], of_search: Sequence[Picture]) -> Html:
    """Time of each part, then tuning, then search."""
    parts: list[object] = []
    if run.times:
        took = ", ".join(f"{part} {duration(seconds)}" for part, seconds in run.times.items())
        parts.append(element("p", f"Time: {took}."))
    if run.tune is not None or not run.single:
        parts.append(element("h3", "Tuning of the target"))
        parts.append(
            missing("Tuning (tune/metrics.csv)") if run.tune is None else _charts(of_tuning)
        )
    if run.search is not None or (run.searches and not run.single):
        parts.append(element("h3", "Search"))
        if run.search is None:
            parts.append(missing("Search (search/metrics.csv)"))
        if of_search:
            parts.append(_charts(of_search))
        if run.alphas is None:
            parts.append(missing("Alphas (search/alphas.csv)"))
    return section("Training", *parts, anchor="training")


def _charts(charts: Sequence[Picture]) -> Html:
    return element("div", join([chart.shown() for chart in charts]), cls="charts")
