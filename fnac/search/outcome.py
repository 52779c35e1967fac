"""The outcome of a search, and whether it can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnac.architectures.costs import SpaceCosts
from fnac.architectures.solve import choose_architecture
from fnac.findings import Finding, together
from fnac.search.health import mean_entropy, search_findings, softmax_rows
from fnac.search.settings import SearchPlan


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    ``expected`` and ``budget`` (None: there was none) are in ``unit``, for the whole network;
    ``entropy`` is a share of an even choice's; ``agreement`` the correlation of what both halves
    of the search did to the alphas; ``loss`` the last one.
    """

    output: Path
    steps: int
    alpha_steps: int
    unit: str
    expected: float
    budget: int | None
    lambda_: float
    entropy: float
    agreement: float
    loss: float
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what the manifest of the searched network says about its search."""
        entry = dataclasses.asdict(self)
        del entry["output"], entry["findings"]  # they have a place of their own
        entry["lambda"] = entry.pop("lambda_")
        return entry


@dataclasses.dataclass(frozen=True)
class Ended:
    """The state at the end of a search, from which its outcome is judged.

    alphas     one row a layer
    led        where the task alone led them, if the cost was steered: what the choice goes by
    agreement  correlation of what both halves of the search did to the alphas
    loss       the last one
    """

    alphas: Sequence[np.ndarray]
    led: Sequence[np.ndarray] | None
    space: SpaceCosts
    budget: int | None
    plan: SearchPlan
    use_at_least: float
    lambda_: float
    agreement: float
    loss: float

    def result(self, output: Path) -> SearchResult:
        """Return the outcome, written to ``output``, with its findings."""
        space, plan = self.space, self.plan
        probabilities = softmax_rows(self.alphas)
        choice = choose_architecture(
            self.led or self.alphas, space, self.budget, use_at_least=self.use_at_least
        )
        findings = search_findings(
            probabilities, space, self.budget, choice.arch, self.agreement, plan.alpha_steps
        )
        return SearchResult(
            output=output,
            steps=plan.total,
            alpha_steps=plan.alpha_steps,
            unit=space.unit,
            expected=space.expected([row.tolist() for row in probabilities]),
            budget=self.budget,
            lambda_=self.lambda_,
            entropy=mean_entropy(probabilities),
            agreement=self.agreement,
            loss=self.loss,
            findings=together(findings, choice.findings),
        )
