"""Which widths: an integer program on what was measured, then a search on whole networks.

Errors of single blocks do not add up. So several choices are made whole, fitted in sequence, and
measured on images held back: the same share everywhere; the program on the errors as measured, on
their squares (losses are spread) and square roots (fewer blocks lose more); then the best one
with budget moved between two blocks, as long as ``effort`` lasts.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence

from fnac.architectures.widths import choose_widths
from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.passes.shrink.width_costs import WidthCosts

log = logging.getLogger(__name__)

POWERS = (1.0, 2.0, 0.5)
Widths = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Widths of all sets, what they cost, their error: predicted, or measured whole."""

    widths: Widths
    cost: int
    predicted: float
    measured: float | None = None


class Chooser:
    """Chooses widths by what is known of each set."""

    def __init__(self, known: Sequence[Sensitivity], costs: WidthCosts) -> None:
        self.known = list(known)
        self.costs = costs

    def predicted(self, widths: Widths) -> float:
        """Return the sum of what each set's width costs by itself."""
        return sum(one.error(width) for one, width in zip(self.known, widths, strict=True))

    def choice(self, widths: Widths) -> Choice:
        """Return a choice that was not measured."""
        return Choice(widths, self.costs.of(widths), self.predicted(widths))

    def by_program(self, budget: int, power: float = 1.0) -> Choice | None:
        """Return the least sum of errors, each to a power, within the budget."""
        errors = [[one.error(w) ** power for w in one.widths] for one in self.known]
        widths = choose_widths(errors, [one.widths for one in self.known], self.costs, budget)
        return None if widths is None else self.choice(widths)

    def same_share(self, budget: int) -> Choice | None:
        """Return the largest share for all sets alike that is within the budget.

        What it leaves of the budget goes, a step at a time, where it saves most error for its cost.
        """
        shares = sorted({w / one.count for one in self.known for w in one.widths}, reverse=True)
        for share in shares:
            widths = tuple(
                max((w for w in one.widths if w <= share * one.count), default=one.widths[0])
                for one in self.known
            )
            if self.costs.of(widths) <= budget:
                return self.choice(self._filled(widths, budget))
        return None

    def _filled(self, widths: Widths, budget: int) -> Widths:
        while True:
            best: tuple[float, Widths] | None = None
            now, cost = self.predicted(widths), self.costs.of(widths)
            for place, wider in self._steps(widths, +1):
                tried = (*widths[:place], wider, *widths[place + 1 :])
                extra = self.costs.of(tried) - cost
                if cost + extra > budget:
                    continue
                gain = (now - self.predicted(tried)) / max(extra, 1)
                if best is None or gain > best[0]:
                    best = (gain, tried)
            if best is None:
                return widths
            widths = best[1]

    def least(self) -> int:
        """Return the cost of the smallest widths."""
        return self.costs.of([one.widths[0] for one in self.known])

    def moves(self, widths: Widths, budget: int) -> Iterator[Widths]:
        """Yield widths with one set wider and another narrower, the most promising first."""
        rated = []
        for up, wider in self._steps(widths, +1):
            for down, narrower in self._steps(widths, -1):
                if up == down:
                    continue
                moved = list(widths)
                moved[up], moved[down] = wider, narrower
                if self.costs.of(moved) <= budget:
                    rated.append((self.predicted(tuple(moved)), tuple(moved)))
        yield from (moved for _, moved in sorted(rated))

    def _steps(self, widths: Widths, direction: int) -> Iterator[tuple[int, int]]:
        for number, (one, width) in enumerate(zip(self.known, widths, strict=True)):
            place = one.widths.index(width) + direction
            if 0 <= place < len(one.widths):
                yield number, one.widths[place]


def search_widths(
    chooser: Chooser,
    budget: int,
    effort: int,
    measure: Callable[[Widths], float],
) -> Choice:
    """Return the best widths found within the budget; there must be some.

    measure  error of a whole network with these widths, fitted in sequence
    """
    starts = [chooser.by_program(budget, power) for power in POWERS]
    starts.insert(1, chooser.same_share(budget))
    candidates = {c.widths: c for c in starts if c is not None}
    best: Choice | None = None
    tried: set[Widths] = set()

    def attempt(candidate: Choice) -> bool:
        nonlocal best, effort
        effort -= 1
        tried.add(candidate.widths)
        measured = dataclasses.replace(candidate, measured=measure(candidate.widths))
        log.debug("widths %s: error %.4g", candidate.widths, measured.measured)
        assert measured.measured is not None
        if best is None or best.measured is None or measured.measured < best.measured:
            best = measured
            return True
        return False

    if effort <= 0:
        return next(iter(candidates.values()))
    for candidate in candidates.values():
        if effort > 0:
            attempt(candidate)
    improved = True
    while improved and effort > 0:
        improved = False
        assert best is not None
        for widths in chooser.moves(best.widths, budget):
            if widths in tried:
                continue
            if effort <= 0:
                break
            improved = attempt(chooser.choice(widths))
            if improved:
                break
    assert best is not None
    return best
