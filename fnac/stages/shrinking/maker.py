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


@dataclasses.dataclass(frozen=True)
class _Made:
    widths: tuple[int, ...]
    narrowing: Narrowing
    steps: list[Step]
    small: Small


class Maker:
    """Makes whole networks of given widths; the best of them stays in memory.

    All images are fitted to for every one: from fewer, a wide layer gets more unknowns than the
    pixels of a late layer can settle, and narrow ones look better than they are.
    """

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
        self._best: _Made | None = None

    def error(self, widths: tuple[int, ...]) -> float:
        """Return the error of a network of these widths."""
        network = self._make(widths)
        if self._best is None or network.small.error < self._best.small.error:
            self._best = network
        return network.small.error

    def slopes(self, widths: tuple[int, ...]) -> list[Slope]:
        """Return what each set's width matters in a network; quicker for the best one made."""
        network = self._kept(widths)
        return measure_slopes(
            network.narrowing, network.steps, self.known, self.judge, most=MOST_MEASURED
        )

    def network(self, widths: tuple[int, ...]) -> Small:
        """Return the network of these widths; at once for the best one made."""
        return self._kept(widths).small

    def _kept(self, widths: tuple[int, ...]) -> _Made:
        best = self._best
        return best if best is not None and best.widths == widths else self._make(widths)

    def _make(self, widths: tuple[int, ...]) -> _Made:
        narrowing = Narrowing(
            self.subject.graph, self.fit, batch=self.settings.batch, pixels=self.settings.pixels
        )
        steps = [
            narrowing.narrow(one.name, width) for one, width in zip(self.known, widths, strict=True)
        ]
        return _Made(widths, narrowing, steps, self._better(narrowing, self.fit))

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
