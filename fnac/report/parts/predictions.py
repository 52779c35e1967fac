"""Sample predictions: best, median and worst images, next to their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fnac.report.html import Html, element, join, missing, picture, raw, section
from fnac.report.run_folder import RunFolder

MOST_PREDICTIONS = 12
MOST_COLOURS = 30
ENLARGED = 400
"""Narrower pictures are shown larger than they are, pixel by pixel."""
RANKS = {"best": "best", "median": "in the middle", "worst": "worst"}


def predictions(run: RunFolder) -> Html:
    """The drawn samples, each with its own metric, the names of the panels and the colours."""
    heading = "Predictions"
    if not run.predictions:
        return section(
            heading, missing("Predictions (pictures/prediction_*.png)"), anchor="predictions"
        )
    told = run.predicted
    entries = {str(one["file"]): one for one in told.get("images", [])}
    shown = run.predictions[:MOST_PREDICTIONS]
    panels = [str(name) for name in told.get("panels", [])]
    metric = str(told.get("metric", ""))
    figures = [_figure(file, entries.get(file.name), panels, metric) for file in shown]
    rest = len(run.predictions) - len(shown)
    parts: list[object] = [
        _reading(panels, metric),
        _legend(told.get("legend", [])),
        element("div", join(figures), cls="charts predictions"),
    ]
    if rest:
        parts.append(element("p", f"{rest} more in pictures/.", cls="note"))
    return section(heading, *parts, anchor="predictions")


def _reading(panels: list[str], metric: str) -> Html:
    if not panels:
        return raw("")
    if len(panels) > 1:
        text = f"From left to right: {', '.join(panels)}. "
    else:  # the picture says it
        text = ""
    text += (
        "Images from all over the validation split were measured one by one; these have the best, "
        f"a middling and the worst {metric}. The worst say more than the best: look for what they "
        "have in common."
    )
    return element("p", text, cls="note")


def _legend(colours: list[dict[str, Any]]) -> Html:
    if not colours:
        return raw("")
    chips = []
    for one in colours[:MOST_COLOURS]:
        r, g, b = (int(part) for part in one["colour"])
        square = element("i", "", style=f"background:rgb({r},{g},{b})")
        chips.append(element("span", join([square, element("span", one["name"])], " ")))
    more = len(colours) - len(chips)
    if more > 0:
        chips.append(element("span", f"and {more} more"))
    return element("p", join(chips), cls="legend")


def _figure(file: Path, entry: dict[str, Any] | None, panels: list[str], metric: str) -> Html:
    if entry is None:
        return picture(file.read_bytes(), file.stem)
    rank = RANKS.get(str(entry["rank"]), str(entry["rank"]))
    caption = f"{rank}: {_measured(metric, float(entry['value']))}, image {entry['id']}"
    heads = raw("")
    if len(panels) > 1:
        heads = element("div", join([element("span", name) for name in panels]), cls="panels")
    png = file.read_bytes()
    figure = picture(png, caption, above=heads)
    if int.from_bytes(png[16:20], "big") >= ENLARGED:  # the width in a PNG's header
        return figure
    return element("div", figure, cls="enlarged")


def _measured(metric: str, value: float) -> str:
    """Write the metric of one image; of a single answer it is right or wrong."""
    if metric == "top-1":
        return "right" if value > 50 else "wrong"
    return f"{metric} {value:.1f} %"
