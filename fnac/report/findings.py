"""Findings to read before you trust a run: from its stages, and unverified passes."""

from __future__ import annotations

from fnac.findings import FINDINGS, Finding, read_findings
from fnac.report.run_folder import RunFolder


def findings_of(run: RunFolder) -> tuple[Finding, ...]:
    """List the findings of a run's stages, from results.json, else from the latest network."""
    said = read_findings(run.results if FINDINGS in run.results else run.manifest)
    return (*said, *_unverified(run))


def _unverified(run: RunFolder) -> tuple[Finding, ...]:
    """Name the passes whose promise was not verified."""
    ledger = run.ledger or ()
    names = [str(entry.get("pass")) for entry in ledger if entry.get("verdict") == "unverified"]
    if not names:
        return ()
    passes = ", ".join(dict.fromkeys(names))
    return (Finding("unverified", f"not verified (run with --no-verify): {passes}"),)
