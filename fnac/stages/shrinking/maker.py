"""Build whole networks of given widths: fitted in sequence, measured, statistics settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fnac.passes.graph import Graph
from fnac.passes.shrink.answers import Judge, Verdict
from fnac.passes.shrink.joint import Slope, measure_slopes
from fnac.passes.shrink.narrowing import Narrowing, Step
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.stages.shrinking.settings import ShrinkSettings

MOST_MEASURED = 32  # sets of hidden channels whose effect on the answers is measured
STRENGTHS = (0.5, 1.0)  # how far the original's statistics are brought back, where they are


@dataclasses.dataclass(frozen=True)
class Small:
    """A narrowed network, its verdict on the held-out images, how its statistics were set."""

    graph: Graph
    verdict: Verdict
    statistics: str

    @property
    def error(self) -> float:
        """Error on the held-out images."""
        return self.verdict.error


@dataclasses.dataclass(frozen=True)
class _Made:
    widths: tuple[int, ...]
    narrowing: Narrowing
    steps: list[Step]
    verdict: Verdict


class Maker:
    """Builds whole networks of given widths; keeps the best of them in memory.

    All images of the original are fitted to for every one: from fewer, a wide layer gets more
    unknowns than the pixels of a late layer can settle, and narrow ones look better than they are.
    """

    def __init__(
        self,
        original: Original,
        judge: Judge,
        known: list[Sensitivity],
        settings: ShrinkSettings,
    ) -> None:
        self.original, self.judge, self.known, self.settings = original, judge, known, settings
        self._best: _Made | None = None

    def verdict(self, widths: tuple[int, ...]) -> Verdict:
        """Return the verdict on a network of these widths as fitted, for ranking."""
        network = self._make(widths)
        if self._best is None or network.verdict.beats(self._best.verdict):
            self._best = network
        return network.verdict

    def slopes(self, widths: tuple[int, ...]) -> list[Slope]:
        """Return how much each set's width matters in a network; faster for the best one."""
        network = self._kept(widths)
        return measure_slopes(
            network.narrowing, network.steps, self.known, self.judge, most=MOST_MEASURED
        )

    def network(self, widths: tuple[int, ...]) -> Small:
        """Return the network of these widths with the statistics that give the lowest error."""
        network = self._kept(widths)
        return min(self._settled(network), key=lambda small: small.verdict.rank)

    def _kept(self, widths: tuple[int, ...]) -> _Made:
        best = self._best
        return best if best is not None and best.widths == widths else self._make(widths)

    def _make(self, widths: tuple[int, ...]) -> _Made:
        narrowing = Narrowing(self.original, pixels=self.settings.pixels)
        steps = [
            narrowing.narrow(one.name, width) for one, width in zip(self.known, widths, strict=True)
        ]
        return _Made(widths, narrowing, steps, self.judge.verdict_of(narrowing.result))

    def _settled(self, network: _Made) -> Iterator[Small]:
        def small(graph: Graph, statistics: str) -> Small:
            return Small(graph, self.judge.verdict_of(graph), statistics)

        narrowing = network.narrowing
        yield Small(narrowing.result.copy(), network.verdict, "as fitted")
        yield small(narrowing.recalibrated(), "recalibrated")
        for strength in STRENGTHS:
            yield small(narrowing.matched(strength), f"matched by {strength:g}")
