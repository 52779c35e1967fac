"""Choose widths: an integer program on measured errors, then a search over whole networks.

Errors of single blocks do not add up. So several choices are made whole, fitted in sequence, and
measured on images held back: the program's, and the same share everywhere. Around the best one what
each block's width matters is measured again, in the narrowed network itself, and the program
chooses among widths near by; then budget moves between two blocks. Each is made whole and
measured, the best is kept, as long as ``effort`` lasts.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from fnac.architectures.widths import choose_widths
from fnac.passes.shrink.answers import Verdict
from fnac.passes.shrink.joint import Slope
from fnac.passes.shrink.width_costs import WidthCosts

log = logging.getLogger(__name__)

NEAR = (2.0, 1.4, 1.0)  # factors that a width may change by at once, further ones first
MOVED = 2
"""Sets whose widths a move changes: a choice that differs in no more is no other architecture."""
Widths = tuple[int, ...]


class Known(Protocol):
    """Measurements of one set of hidden channels: its widths, ascending, and their errors."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def widths(self) -> tuple[int, ...]: ...  # noqa: D102

    def error(self, width: int) -> float: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Choice:
    """Widths of all sets, their cost, and their error: predicted, or measured on the network."""

    widths: Widths
    cost: int
    predicted: float
    measured: float | None = None

    @property
    def error(self) -> float:
        """Return the measured error, else the predicted one."""
        return self.predicted if self.measured is None else self.measured


class Chooser:
    """Chooses widths from the measurements of each set."""

    def __init__(self, known: Sequence[Known], costs: WidthCosts) -> None:
        self.known = list(known)
        self.costs = costs

    def predicted(self, widths: Widths) -> float:
        """Return the sum of the errors of each set's width by itself."""
        return sum(one.error(width) for one, width in zip(self.known, widths, strict=True))

    def choice(self, widths: Widths) -> Choice:
        """Return a choice that was not measured."""
        return Choice(widths, self.costs.of(widths), self.predicted(widths))

    def by_program(self, budget: int) -> Choice | None:
        """Return the choice with the lowest sum of errors within the budget."""
        errors = [[one.error(w) for w in one.widths] for one in self.known]
        widths = choose_widths(errors, [one.widths for one in self.known], self.costs, budget)
        return None if widths is None else self.choice(widths)

    def at_random(self, budget: int, generator: np.random.Generator) -> Choice | None:
        """Return random widths that fill the budget, independent of measurements.

        Each set's channels are given a random worth; the program keeps what is worth most.
        """
        worth = np.exp(1.5 * generator.standard_normal(len(self.known)))
        errors = [
            [float(w * (1 - width / one.count)) for width in one.widths]
            for w, one in zip(worth, self.known, strict=True)
        ]
        widths = choose_widths(errors, [one.widths for one in self.known], self.costs, budget)
        return None if widths is None else self.choice(widths)

    def same_share(self, budget: int) -> Choice | None:
        """Return the widths of the largest equal share within the budget.

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
    measure: Callable[[Widths], Verdict],
    slopes: Callable[[Widths], Sequence[Slope]],
) -> list[Choice]:
    """Return the choices within the budget that were built and measured, best first; at least one.

    The same share everywhere stays the best until another one beats it by more than chance.

    effort   networks that are made and measured; 0: the program's choice as it is
    measure  how a whole network with these widths fares, fitted in sequence
    slopes   what each set's width matters in that network; asked for widths that were measured
    """
    program, share = chooser.by_program(budget), chooser.same_share(budget)
    assert program is not None  # there are widths within the budget
    if effort <= 0:
        return [program]
    search = _Search(chooser, budget, effort, measure)
    for start in (share, program):
        if start is not None:
            search.attempt(start.widths)
    while search.effort > 0:
        around = slopes(search.best.widths)
        if not any(search.attempt(widths) for widths in _near(around, search)):
            break
    return search.ranked()


def distinct(choices: Sequence[Choice], count: int) -> list[Choice]:
    """Return the first choices that differ by more than one move from all before them."""
    taken: list[Choice] = []
    for one in choices:
        far = all(
            sum(a != b for a, b in zip(one.widths, other.widths, strict=True)) > MOVED
            for other in taken
        )
        if len(taken) < count and far:
            taken.append(one)
    return taken


def _near(slopes: Sequence[Slope], search: _Search) -> Iterator[Widths]:
    """Yield the program's choice among nearby widths, then single moves."""
    for factor in NEAR:
        near = Chooser([slope.near(factor) for slope in slopes], search.chooser.costs)
        choice = near.by_program(search.budget)
        if choice is not None:
            yield choice.widths
    yield from Chooser(slopes, search.chooser.costs).moves(search.best.widths, search.budget)


class _Search:
    """Keeps all measured choices and the best of them."""

    def __init__(
        self, chooser: Chooser, budget: int, effort: int, measure: Callable[[Widths], Verdict]
    ) -> None:
        self.chooser, self.budget, self.effort, self.measure = chooser, budget, effort, measure
        self.tried: dict[Widths, tuple[Choice, Verdict]] = {}
        self._best: Widths = ()

    @property
    def best(self) -> Choice:
        """The choice that beat those before it and was beaten by none."""
        return self.tried[self._best][0]

    def ranked(self) -> list[Choice]:
        """Return the best choice, then the others by rank."""
        best = self.tried.pop(self._best)[0]
        others = sorted(self.tried.values(), key=lambda pair: pair[1].rank)
        return [best, *(choice for choice, _ in others)]

    def attempt(self, widths: Widths) -> bool:
        """Build and measure a network of these widths; say whether it is the best so far.

        Nothing is done for widths that were tried, or once the effort is spent.
        """
        if widths in self.tried or self.effort <= 0:
            return False
        self.effort -= 1
        verdict = self.measure(widths)
        log.debug("widths %s: error %.4g, rank %.4g", widths, verdict.error, verdict.rank)
        choice = dataclasses.replace(self.chooser.choice(widths), measured=verdict.error)
        better = not self.tried or verdict.beats(self.tried[self._best][1])
        self.tried[widths] = choice, verdict
        if better:
            self._best = widths
        return better
