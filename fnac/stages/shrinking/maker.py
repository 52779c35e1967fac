"""Whole networks of given widths: fitted in sequence, their statistics settled, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from fnac.passes.graph import Graph
from fnac.passes.shrink.answers import Judge
from fnac.passes.shrink.joint import Slope, measure_slopes
from fnac.passes.shrink.narrowing import Narrowing, Step
from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import Shrinkable

MOST_MEASURED = 32  # sets of hidden channels whose effect on the answers is measured
STRENGTHS = (0.5, 1.0)  # how far the original's statistics are brought back, where they are


@dataclasses.dataclass(frozen=True)
class Small:
    """A narrowed network, its error on the images held back, what became of its statistics."""

    graph: Graph
    error: float
    statistics: str


class Maker:
    """Makes whole networks of given widths."""

    def __init__(
        self,
        subject: Shrinkable,
        fit: np.ndarray,
        judge: Judge,
        known: list[Sensitivity],
        settings: ShrinkSettings,
    ) -> None:
        self.subject, self.judge, self.known, self.settings = subject, judge, known, settings
        self.fit = fit
        few = max(1, -(-len(fit) // 3))
        self.few = np.ascontiguousarray(fit[np.linspace(0, len(fit) - 1, few).astype(int)])
        self._best: tuple[tuple[int, ...], Narrowing, list[Step]] | None = None
        self._least = np.inf

    def error(self, widths: tuple[int, ...]) -> float:
        """Return the error of a network that is fitted to some of the images."""
        narrowing, steps = self._narrow(widths, self.few)
        error = self._better(narrowing, self.few).error
        if error < self._least:
            self._least, self._best = error, (widths, narrowing, steps)
        return error

    def slopes(self, widths: tuple[int, ...]) -> list[Slope]:
        """Return what each set's width matters in a network; quicker for the best one measured."""
        if self._best is not None and self._best[0] == widths:
            _, narrowing, steps = self._best
        else:
            narrowing, steps = self._narrow(widths, self.few)
        return measure_slopes(narrowing, steps, self.known, self.judge, most=MOST_MEASURED)

    def make(self, widths: tuple[int, ...], images: np.ndarray) -> Small:
        """Return the network that is fitted to all the images."""
        narrowing, _ = self._narrow(widths, images)
        return self._better(narrowing, images)

    def _narrow(self, widths: tuple[int, ...], images: np.ndarray) -> tuple[Narrowing, list[Step]]:
        narrowing = Narrowing(
            self.subject.graph, images, batch=self.settings.batch, pixels=self.settings.pixels
        )
        steps = [
            narrowing.narrow(one.name, width) for one, width in zip(self.known, widths, strict=True)
        ]
        return narrowing, steps

    def _better(self, narrowing: Narrowing, images: np.ndarray) -> Small:
        """Return the network with those statistics with which it errs least."""
        return min(self._settled(narrowing, images), key=lambda one: one.error)

    def _settled(self, narrowing: Narrowing, images: np.ndarray) -> Iterator[Small]:
        def small(graph: Graph, statistics: str) -> Small:
            return Small(graph, self.judge.error_of(graph), statistics)

        yield small(narrowing.result, "as fitted")
        yield small(narrowing.recalibrated(images), "recalibrated")
        for strength in STRENGTHS:
            graph = narrowing.matched(images, strength)
            yield small(graph, f"matched by {strength:g}")
