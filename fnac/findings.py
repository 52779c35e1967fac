"""What a reader must know before trusting a run: judged once, by the stage that knows, and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

FINDINGS = "findings"
"""The key of findings in results.json and in a network's manifest."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or surprising: ``kind`` for programs, ``text`` for readers."""

    kind: str
    text: str

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def as_json(self) -> dict[str, str]:
        """Return the finding as files keep it."""
        return dataclasses.asdict(self)


def written(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as files keep them."""
    return [finding.as_json() for finding in findings]


def read_findings(content: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the findings that results.json or a manifest holds; () if it holds none."""
    return tuple(Finding(one["kind"], one["text"]) for one in content.get(FINDINGS, ()))


def together(*stages: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings of several stages: a later one takes the place of an earlier's kind."""
    by_kind = {one.kind: one for stage in stages for one in stage}
    return tuple(by_kind.values())
