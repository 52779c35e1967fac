"""Where is it good, where not? The metric of each class, and confusions between classes."""

from __future__ import annotations

from collections.abc import Sequence

from fnac.report.html import Html, element, join, missing, raw, section, table
from fnac.report.parts.facts import fact, is_number, metric_of
from fnac.report.plots import Picture
from fnac.report.run_folder import RunFolder

MOST_PAIRS = 8
"""Confusions that are named."""


def per_class(run: RunFolder, charts: Sequence[Picture]) -> Html:
    """One bar per class, lowest first; the worst confusions in words; the chart of the task."""
    entries, metric = run.results.get("per_class"), metric_of(run)
    kind = "joint" if fact(run, "task") == "pose" else "class"
    heading = f"Each {kind}"
    if not isinstance(entries, list) or not entries or metric is None:
        return section(heading, missing("Results (results.json)"), anchor="classes")
    known = [(str(e["name"]), float(e["value"])) for e in entries if is_number(e.get("value"))]
    absent = [str(e["name"]) for e in entries if not is_number(e.get("value"))]
    rows = [
        [name, _bar(value), f"{value:.2f}"] for name, value in sorted(known, key=lambda one: one[1])
    ]
    of_one = metric[0].removeprefix("m")  # mIoU and mAP are means over the classes
    parts: list[object] = [
        element(
            "p",
            f"{of_one[:1].upper()}{of_one[1:]} of each {kind}, the lowest first; a {kind} near 0 "
            "was not learnt, or has hardly any samples (see the table of the data in run.log, or "
            "fnac data).",
            cls="note",
        ),
        table([kind, "", f"{of_one}, %"], rows, (2,)),
    ]
    if absent:
        parts.append(element("p", f"Not measured, for they do not occur: {', '.join(absent)}."))
    names = [str(entry["name"]) for entry in entries]
    if pairs := _confusions(run.results.get("confusion"), names):
        parts += [element("h3", "Taken for another class"), pairs]
    if not charts:
        return section(heading, *parts, anchor="classes")
    sides = [element("div", join(side)) for side in (parts, [chart.shown() for chart in charts])]
    beside = element("div", join(sides), cls="beside")
    return section(heading, beside, anchor="classes")


def _bar(value: float) -> Html:
    width = max(0.0, min(100.0, value))
    return element("div", element("i", "", style=f"width:{width:.1f}%"), cls="bar")


def _confusions(matrix: object, names: Sequence[str]) -> Html:
    """Name the largest confusions of a class with another one."""
    if not isinstance(matrix, list) or len(matrix) != len(names):
        return raw("")
    pairs = []
    for true, row in zip(names, matrix, strict=True):
        total = sum(row)
        pairs += [
            (count / total, true, said)
            for said, count in zip(names, row, strict=True)
            if said != true and count
        ]
    pairs.sort(key=lambda one: -one[0])
    if not pairs:
        return element("p", "No class is taken for another one.")
    rows = [[true, said, f"{100 * share:.1f} %"] for share, true, said in pairs[:MOST_PAIRS]]
    return table(["truth", "taken for", "share of the class"], rows, (2,))
