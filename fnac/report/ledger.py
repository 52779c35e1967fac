"""The ledger in the report: what each pass did, what it left, and whether it kept its promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fnac.report.html import Html, details, element, join, raw, table
from fnac.report.run_folder import RunFolder

KINDS = ("copied", "cropped", "padded", "collected", "fresh")


def ledger(run: RunFolder) -> Html:
    """What every pass did, what it left and why, and whether it kept its promise."""
    entries = run.ledger or ()
    rows = [_ledger_row(entry) for entry in entries]
    heading = ["pass", "arguments", "keeps", "rewrote", "left", "declined", "verdict"]
    heading += ["max. difference", "s"]
    parts: list[object] = [table(heading, rows, (7, 8))]
    accounting = _accounting(entries)
    if accounting is not None:
        parts += [element("h3", "Weights, by what became of them"), accounting]
    return join(parts)


def _ledger_row(entry: Mapping[str, Any]) -> list[object]:
    arguments = entry.get("arguments") or {}
    written = (
        ", ".join(f"{key}={value}" for key, value in arguments.items())
        if isinstance(arguments, Mapping)
        else str(arguments)
    )
    if len(written) > 60:
        argument_cell: object = details(f"{written[:40]}…", element("code", written))
    else:
        argument_cell = element("code", written)
    verdict = str(entry.get("verdict", ""))
    good = {"equal": "good", "unverified": "bad"}.get(verdict, "")
    name = element("b", entry.get("pass", ""))
    if entry.get("stage"):
        name = join([name, element("span", f" ({entry['stage']})", cls="note")], "")
    return [
        name,
        argument_cell,
        entry.get("keeps", ""),
        _named(entry.get("rewrote"), "nodes"),
        _named(entry.get("left"), "nodes"),
        _named(_declined(entry.get("declined")), "offers"),
        element("span", verdict, cls=good) if good else verdict,
        _difference(entry),
        _seconds(entry.get("seconds")),
    ]


def _declined(offers: object) -> dict[str, str]:
    """Candidates that were offered to each node and declined, with the reason."""
    if not isinstance(offers, Mapping):
        return {}
    return {
        f"{node} {offer}": str(why)
        for node, declined in offers.items()
        for offer, why in declined.items()
    }


def _named(decisions: object, what: str) -> Html:
    """The number of decisions; on a click, each of them, grouped by their text."""
    if not isinstance(decisions, Mapping) or not decisions:
        return raw("–")
    groups: dict[str, list[str]] = {}
    for node, said in decisions.items():
        groups.setdefault(str(said), []).append(str(node))
    items = [
        element("li", join([f"{said}: ", element("code", ", ".join(nodes))], ""))
        for said, nodes in groups.items()
    ]
    return details(
        f"{len(decisions)} {what if len(decisions) > 1 else what.removesuffix('s')}",
        element("ul", join(items)),
    )


def _difference(entry: Mapping[str, Any]) -> str:
    """Largest difference against the tolerance; the bare drift where outputs may change."""
    difference, tolerance = entry.get("max_abs_diff"), entry.get("tolerance")
    if not isinstance(difference, (int, float)):
        return ""
    if entry.get("verdict") == "drift" or not isinstance(tolerance, (int, float)):
        return f"drift {difference:.3g}"
    return f"{difference:.3g} (≤ {tolerance:.3g})"


def _seconds(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else ""


def _accounting(entries: Sequence[Mapping[str, Any]]) -> Html | None:
    """How many initializers were copied, cropped, ..., by pass; on a click, each of them."""
    rows: list[list[object]] = []
    for entry in entries:
        initializers = entry.get("initializers")
        if not isinstance(initializers, Mapping) or not initializers:
            continue
        counts = Counter(_kind(said) for said in initializers.values())
        listing = table(
            ["initializer", "what became of it"],
            [[element("code", name), said] for name, said in initializers.items()],
        )
        rows.append(
            [
                element("b", entry.get("pass", "")),
                *(counts.get(kind, 0) or "" for kind in (*KINDS, "other")),
                details(f"all {len(initializers)}", listing),
            ]
        )
    if not rows:
        return None
    return table(["pass", *KINDS, "other", "details"], rows, range(1, len(KINDS) + 2))


def _kind(said: object) -> str:
    """The first word of an initializer's fate, if it is one of the five."""
    words = str(said).replace(":", " ").split()
    return words[0] if words and words[0] in KINDS else "other"
