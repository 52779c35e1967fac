"""What exactly was done, with what? Ledger, environment and configuration, folded away."""

from __future__ import annotations

import json
from collections import Counter

from fnac.report.html import Html, details, element, join, missing, section
from fnac.report.ledger import ledger
from fnac.report.parts.facts import without_folders
from fnac.report.run_folder import RunFolder


def folded(run: RunFolder) -> Html:
    """Three parts that open on a click."""
    parts: list[object] = []
    if run.ledger is None:
        parts.append(missing("Passes (ledger.json)"))
    else:
        parts.append(details(_passes_in_words(run), ledger(run)))
    if run.env is None:
        parts.append(missing("Environment (env.json)"))
    else:
        text = without_folders(json.dumps(run.env, indent=2, ensure_ascii=False))
        parts.append(details("Environment: versions, device, command", element("pre", text)))
    if run.config_text is None:
        parts.append(missing("Configuration (config.yaml)"))
    else:
        text = without_folders(run.config_text)
        parts.append(details("Configuration: every setting", element("pre", text)))
    return section("Details", join(parts), anchor="details")


def _passes_in_words(run: RunFolder) -> str:
    entries = run.ledger or ()
    changed = sum(bool(entry.get("rewrote")) for entry in entries)
    verdicts = Counter(str(entry.get("verdict")) for entry in entries)
    proven = verdicts["equal"]
    return (
        f"Ledger: {len(entries)} passes ran, {changed} changed something; {proven} promised equal "
        "outputs and were proven"
    )
