"""The interface of a strategy, which chooses the target's architecture in two steps.

A strategy works on the files of a run folder. What it has done already is not done again, so that
a run that was killed continues.
"""

from __future__ import annotations

import abc
import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fnac.config import as_json
from fnac.findings import Finding
from fnac.search.comparison import Comparison

if TYPE_CHECKING:
    from fnac.adaptation.adapt_run import AdaptRun
    from fnac.stages.tune_settings import TuneSettings


log = logging.getLogger(__name__)

COLUMNS = (
    *("arch", "input", "madds", "params", "score", "epochs", "chosen"),
    *("predicted", "error", "random"),
)
"""Of ``search/candidates.csv``."""


@dataclass(frozen=True)
class Candidate:
    """An architecture that a strategy considered.

    arch     one choice for each layer, or block
    madds    of the whole network, head included
    params   of the whole network
    score    what it was judged by; the larger, the better; None: it was not judged
    epochs   of tuning that the score was measured after
    chosen   whether it became the target
    input    the size of its images, and its output stride: ``180x240-os16``
    predicted, error  of its answers before tuning, as predicted and as measured (``measured``)
    random   drawn to compare with, not to be chosen
    """

    arch: tuple[str, ...]
    madds: int
    params: int
    score: float | None = None
    epochs: int = 0
    chosen: bool = False
    input: str = ""
    predicted: float | None = None
    error: float | None = None
    random: bool = False


class Strategy(abc.ABC):
    """Chooses the target's architecture; ``target.onnx`` and ``arch.json`` are its result."""

    name: str

    def __init__(self, run: AdaptRun) -> None:
        self.run = run

    @abc.abstractmethod
    def prepare(self) -> None:
        """Write ``baseline.onnx``: the seed with its head; refuse an impossible budget.

        The first process calls it, before anything is trained.
        """

    @abc.abstractmethod
    def choose(self) -> None:
        """Write ``target.onnx`` and ``arch.json``; every process calls it."""

    def tuning(self, settings: TuneSettings) -> TuneSettings:
        """Return the tuning settings of target and baseline after the choice: the plan's."""
        return settings

    def tuning_of_target(self, settings: TuneSettings) -> TuneSettings:
        """Return the tuning settings of the target: the baseline's, unless its input differs."""
        return settings

    def record_health(self, comparison: Comparison) -> tuple[Finding, ...]:
        """Write ``search/health.json``; report and return what is wrong with the choice."""
        self.run.kept.write("search/health.json", as_json(comparison.as_json()))
        for finding in comparison.findings():
            log.warning("%s: %s", self.name, finding)
        return comparison.findings()

    def record(self, candidates: Sequence[Candidate]) -> None:
        """Write every architecture that was considered to ``search/candidates.csv``."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for one in candidates:
            score, predicted, error = (
                "" if value is None else f"{value:.6g}"
                for value in (one.score, one.predicted, one.error)
            )
            costs = (one.input, one.madds, one.params)
            judged = (score, one.epochs, int(one.chosen), predicted, error, int(one.random))
            table.writerow((" ".join(one.arch), *costs, *judged))
        self.run.path("search").mkdir(exist_ok=True)
        self.run.kept.write("search/candidates.csv", text.getvalue().encode())
