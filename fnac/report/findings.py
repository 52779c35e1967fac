"""What a reader must know before trusting a run: what its stages found, what nobody checked."""

from __future__ import annotations

from fnac.findings import FINDINGS, Finding, read_findings
from fnac.report.run_folder import RunFolder


def findings_of(run: RunFolder) -> tuple[Finding, ...]:
    """List what the stages of a run found, as results.json has it, else the latest network."""
    said = read_findings(run.results if FINDINGS in run.results else run.manifest)
    return (*said, *_unverified(run))


def _unverified(run: RunFolder) -> tuple[Finding, ...]:
    """Name the passes that nobody held to their promise."""
    ledger = run.ledger or ()
    names = [str(entry.get("pass")) for entry in ledger if entry.get("verdict") == "unverified"]
    if not names:
        return ()
    passes = ", ".join(dict.fromkeys(names))
    return (Finding("unverified", f"not verified (run with --no-verify): {passes}"),)
