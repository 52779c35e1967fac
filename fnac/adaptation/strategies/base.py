"""What a strategy is: it chooses the target's architecture, in two steps around the seed's tuning.

A strategy works on the files of a run folder. What it has done already is not done again, so that
a run that was killed continues.
"""

from __future__ import annotations

import abc
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fnac.passes.files import write_atomically

if TYPE_CHECKING:
    from fnac.adaptation.adapt_run import AdaptRun
    from fnac.stages.tune_settings import TuneSettings


@dataclass(frozen=True)
class Candidate:
    """An architecture that a strategy looked at.

    arch     one choice for each layer, or block
    madds    of the whole network, head included
    params   of the whole network
    score    what it was judged by; the larger, the better; None: it was not judged
    epochs   of tuning that the score was measured after
    chosen   whether it became the target
    """

    arch: tuple[str, ...]
    madds: int
    params: int
    score: float | None = None
    epochs: int = 0
    chosen: bool = False


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
        """Leave ``target.onnx`` and ``arch.json``; every process calls it."""

    def tuning(self, settings: TuneSettings) -> TuneSettings:
        """Return how target and baseline are tuned after the choice: as the plan says."""
        return settings

    def record(self, candidates: Sequence[Candidate]) -> None:
        """Write every architecture that was looked at to ``search/candidates.csv``."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("arch", "madds", "params", "score", "epochs", "chosen"))
        for one in candidates:
            score = "" if one.score is None else f"{one.score:.6g}"
            row = (" ".join(one.arch), one.madds, one.params, score, one.epochs, int(one.chosen))
            table.writerow(row)
        path = self.run.path("search/candidates.csv")
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, text.getvalue().encode())
