"""Findings to read before you trust a run: judged once, by the stage that knows, and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

FINDINGS = "findings"
"""The key of findings in results.json and in a network's manifest."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong or surprising: ``kind`` for programs, ``text`` for people."""

    kind: str
    text: str

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def as_json(self) -> dict[str, str]:
        """Return the finding as files store it."""
        return dataclasses.asdict(self)


def written(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as files store them."""
    return [finding.as_json() for finding in findings]


def read_findings(content: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the findings that results.json or a manifest holds; () if it holds none."""
    return tuple(Finding(one["kind"], one["text"]) for one in content.get(FINDINGS, ()))


def together(*stages: Iterable[Finding]) -> tuple[Finding, ...]:
    """Merge the findings of several stages: a later one replaces an earlier one of its kind."""
    by_kind = {one.kind: one for stage in stages for one in stage}
    return tuple(by_kind.values())
