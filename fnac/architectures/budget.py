"""Budgets as users write them: ``24.2G``, ``0.9x``, ``90%``, ``2.4M``, ``12ms``.

A budget is for the whole network, head included. A relative one refers to the seed with the same
head. It is resolved to one exact integer in the unit of the space's costs, before any training.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fnac.architectures.costs import SpaceCosts, latency_costs, space_costs
from fnac.errors import UsageError
from fnac.text import human

BUDGET_OF = ("madds", "params", "latency")

_FORM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(x|%|ms|[kmgt]?)\s*", re.IGNORECASE)
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_WANTED = (
    "wanted a number with x, %, K, M, G or ms, such as 0.9x, 90%, 24.2G, 2.4M or 12ms, or none"
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """A budget as it was written: ``amount`` is a share of the seed if ``relative``."""

    text: str
    of: str
    amount: Fraction
    relative: bool

    def resolve(self, costs: SpaceCosts) -> int:
        """Return the budget in the unit of ``costs``, after checking that it can be met.

        raises   UsageError naming the least reachable cost when no network of the space fits
        """
        whole = self.amount * costs.seed_total() if self.relative else self.amount
        budget = int(whole)  # floor: the target never exceeds what was asked
        if budget < costs.least():
            raise UsageError(
                f"--budget {self.text}: that is {say(budget, costs.unit)} for the whole network, "
                f"head included; the least this search space can reach is "
                f"{say(costs.least(), costs.unit)}; ask for at least {at_least(costs)}"
            )
        return budget


def beyond(budget: Budget | None, costs: SpaceCosts) -> str | None:
    """Warn if a budget exceeds the most expensive network and so has no effect."""
    if budget is None or (asked := budget.resolve(costs)) <= costs.greatest():
        return None
    return (
        f"--budget {budget.text}: that is {say(asked, costs.unit)}; the most expensive network "
        f"of this search space costs {say(costs.greatest(), costs.unit)}, so the budget has no "
        "effect"
    )


LEAST_SHARE = 2
"""A budget of so few multiply-adds is a share whose ``x`` was forgotten."""


def parse_budget(text: str, of: str = "madds") -> Budget:
    """Read a budget; UsageError says what was found and what is accepted."""
    if of not in BUDGET_OF:
        raise UsageError(f"--budget-of {of}: wanted one of {', '.join(BUDGET_OF)}")
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"--budget {text}: {_WANTED}")
    number, suffix = Fraction(match[1]), match[2].lower()
    if number <= 0:
        raise UsageError(f"--budget {text}: must be above zero; {_WANTED}")
    if suffix == "x":
        return Budget(text, of, number, relative=True)
    if suffix == "%":
        return Budget(text, of, number / 100, relative=True)
    if suffix == "ms":
        if of != "latency":
            raise UsageError(f"--budget {text}: a time needs --budget-of latency; found {of}")
        return Budget(text, of, number * 10**6, relative=False)
    if not suffix and number <= LEAST_SHARE and of != "latency":
        what = {"madds": "MAdds", "params": "parameters"}[of]
        raise UsageError(f"--budget {text}: that is {text} {what} in all; a share is {text}x")
    if of == "latency":
        raise UsageError(f"--budget {text}: --budget-of latency wants milliseconds, such as 12ms")
    return Budget(text, of, number * _SUFFIX[suffix], relative=False)


def budget_costs(
    manifest: Mapping[str, Any], of: str, latency_table: Mapping[str, Any] | None = None
) -> SpaceCosts:
    """Return the costs of a super network in the unit that a budget ``of`` it counts in."""
    if of != "latency":
        return space_costs(manifest, of)
    if latency_table is None:
        raise UsageError(
            "--budget-of latency: no measured latency of this super network's candidates is at "
            "hand; pass a table with --latency-table FILE, or use --budget-of madds"
        )
    return latency_costs(manifest, latency_table)


@dataclasses.dataclass(frozen=True)
class CostLimit:
    """What an architecture may cost.

    budget     of the whole network; None: there is none
    latencies  of every candidate, by which a budget of latency counts
    """

    budget: Budget | None = None
    latencies: Mapping[str, Any] | None = None

    def costs(self, manifest: Mapping[str, Any]) -> SpaceCosts:
        """Return the costs of a super network in the unit of the budget; in MAdds without one."""
        of = "madds" if self.budget is None else self.budget.of
        return budget_costs(manifest, of, self.latencies)

    def within(self, space: SpaceCosts) -> int | None:
        """Return the budget in the unit of ``space``, after checking that it can be met."""
        return None if self.budget is None else self.budget.resolve(space)


UNLIMITED = CostLimit()


def check_lambda(budget: Budget | None, lambda_: float | None) -> None:
    """Raise UsageError if lambda is to be steered but there is no budget."""
    if budget is None and lambda_ is None:
        raise UsageError(
            "--budget none: there is nothing that lambda could be steered to; fix it with --lambda"
        )


def say(cost: int | float, unit: str) -> str:
    """Format a cost for people: ``24.52G MAdds``, ``2.57M params``, ``12.3ms``."""
    if unit == "ns":
        return f"{cost / 1e6:.4g}ms"
    return f"{human(cost)} {({'madds': 'MAdds', 'params': 'params'})[unit]}"


def at_least(costs: SpaceCosts) -> str:
    """Return the smallest budget that can be met, rounded up, in the notation of ``--budget``."""
    least = costs.least()
    if costs.unit == "ns":
        return f"{-(-least // 10**3) / 1e3:g}ms"
    scale, suffix = next(
        ((_SUFFIX[s.lower()], s) for s in ("G", "M", "K") if least >= _SUFFIX[s.lower()]), (1, "")
    )
    return f"{-(-least * 1000 // scale) / 1000:g}{suffix}"
