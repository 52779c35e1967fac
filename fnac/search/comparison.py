"""Compare the chosen architecture with random ones of its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnac.findings import Finding

FEW = 8  # architectures below which a correlation of ranks says nothing
FEW_RANDOM = 4  # random ones below which nothing is said of the target's place among them
UNRELATED = 0.3  # correlation of ranks below which the prediction does not tell them apart


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A choice compared with random architectures of the same cost.

    ``architectures``  that were measured, those at random among them
    ``random``         how many were drawn at random
    ``correlation``    of the ranks of predicted and measured error (Spearman); None: too few
    ``worse``          share of the random ones that are worse than the chosen one; None: too few
    """

    architectures: int
    random: int
    correlation: float | None
    worse: float | None

    def as_json(self) -> dict[str, Any]:
        """Return what ``search/health.json`` holds."""
        return dataclasses.asdict(self)

    def findings(self) -> tuple[Finding, ...]:
        """Return findings on the choice; () if nothing is wrong."""
        told: list[Finding] = []
        if self.correlation is not None and self.correlation < UNRELATED:
            told.append(
                Finding(
                    "unfounded-prediction",
                    "the predictions that the choice used are unreliable: over "
                    f"{self.architectures} architectures their order agrees with what was "
                    f"measured by {self.correlation:+.2f} (1: fully, 0: by chance); give it more "
                    "images, or train for longer",
                )
            )
        if self.worse is not None and self.worse < 0.5:
            told.append(
                Finding(
                    "no-better-than-random",
                    f"the choice is no better than chance: of {self.random} random architectures "
                    f"of its cost {self.worse:.0%} are worse before tuning; try --strategy random",
                )
            )
        return tuple(told)


def compare(
    predicted: Sequence[float], errors: Sequence[float], random: Sequence[bool], chosen: float
) -> Comparison:
    """Compare a choice with architectures that were measured in the same way.

    predicted, errors  of each of them, in any units; the smaller, the better
    random             which of them were drawn at random
    chosen             the error of the chosen one, in the unit of ``errors``
    """
    drawn = [error for error, one in zip(errors, random, strict=True) if one]
    correlation = None
    if len(errors) >= FEW and len(set(predicted)) > 1 and len(set(errors)) > 1:
        from scipy.stats import spearmanr

        correlation = float(spearmanr(predicted, errors).statistic)
    worse = None
    if len(drawn) >= FEW_RANDOM:
        worse = float(np.mean([(error > chosen) + 0.5 * (error == chosen) for error in drawn]))
    return Comparison(len(errors), len(drawn), correlation, worse)
