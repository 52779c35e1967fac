"""The result of ``shrink``: the smaller network and its measurements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fnac.findings import FINDINGS, Finding, written
from fnac.passes.graph import Graph


@dataclasses.dataclass(frozen=True)
class Row:
    """The result for one set of hidden channels.

    ``madds_saved``  by its width alone, the others as chosen
    ``error``        of the answers that its width alone makes, predicted
    """

    name: str
    was: int
    width: int
    madds_saved: int
    error: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds per image on this machine: original, new network, budget."""

    before: float
    after: float
    budget: float


@dataclasses.dataclass(frozen=True)
class Tried:
    """Widths that were built as a whole network.

    ``widths``     set of hidden channels -> its width
    ``predicted``  error of the answers as the sum of what each width does alone
    ``error``      as measured on the whole network
    ``random``     drawn to compare with, not chosen
    """

    widths: Mapping[str, int]
    madds: int
    params: int
    predicted: float
    error: float
    random: bool = False


@dataclasses.dataclass(frozen=True)
class ShrinkResult:
    """The smaller network and its measurements.

    ``budget``, ``unit``  MAdds or parameters; of a budget of latency, the MAdds that met it
    ``error``  of the answers on images held back: KL in nats of class scores, else relative
    ``curve``  other budgets: cost, predicted error
    """

    graph: Graph
    before: Mapping[str, int]
    after: Mapping[str, int]
    budget: int
    unit: str
    latency: Latency | None
    error: float
    rows: tuple[Row, ...]
    curve: tuple[tuple[int, float], ...]
    left: Mapping[str, str]
    findings: tuple[Finding, ...]
    measured_on: str
    seconds: float
    tried: tuple[Tried, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``fnac shrink --json`` prints, the file's name left out."""
        return {
            "madds_before": self.before["madds"],
            "madds_after": self.after["madds"],
            "params_before": self.before["params"],
            "params_after": self.after["params"],
            "budget": self.budget,
            "budget_of": self.unit,
            "latency_ms": None if self.latency is None else dataclasses.asdict(self.latency),
            "error": self.error,
            "error_is": self.measured_on,
            "blocks": [
                {
                    "name": row.name,
                    "was": row.was,
                    "is": row.width,
                    "madds_saved": row.madds_saved,
                    "error": row.error,
                }
                for row in self.rows
            ],
            "curve": [{"madds": cost, "error": error} for cost, error in self.curve],
            "left": dict(self.left),
            FINDINGS: written(self.findings),
            "seconds": round(self.seconds, 1),
        }
