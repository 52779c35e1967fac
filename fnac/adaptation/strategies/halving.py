"""Successive halving: tune finalists in rounds, the better half twice as long each time.

Judged by the metric on a part of the training set that these tunings do not see; every network of a
round is tuned equally long, and the next round continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fnac.config import as_json

if TYPE_CHECKING:
    from fnac.adaptation.adapt_run import AdaptRun
    from fnac.stages.tune_settings import TuneSettings

HELD_OUT = 0.2
"""Share of the training set that short tunings are judged on."""
FINALISTS = "search/finalists"


@dataclasses.dataclass(frozen=True)
class Score:
    """The metric of a finalist in percent, after a total number of epochs."""

    value: float
    epochs: int


def short_tuning(settings: TuneSettings, epochs: int) -> TuneSettings:
    """Return the settings of a short tuning that is scored on the held-out part."""
    return dataclasses.replace(
        settings, epochs=epochs, steps=None, held_out=HELD_OUT, keep="best", patience=None,
        eval_every=epochs, teacher=None,
    )  # fmt: skip


def rounds(count: int) -> list[int]:
    """Return how many networks each round tunes: half of those before, down to the last two."""
    sizes = []
    while count > 1:
        sizes.append(count)
        count //= 2
    return sizes


def halve(
    run: AdaptRun, names: Sequence[str], tuning: Callable[[str], TuneSettings]
) -> dict[str, Score]:
    """Tune the finalists in rounds; return the last score of each, the winner first.

    Every process calls it. A round of a finalist that is done is not done again.

    names   of the files ``search/finalists/NAME.onnx``; where there is one, nothing is tuned
    tuning  the settings of a full tuning of a finalist
    """
    scores: dict[str, Score] = {}
    left = list(names)
    for number, size in enumerate(rounds(len(left))):
        left = left[:size]
        epochs = run.plan.adapt.short_epochs * 2**number
        for name in left:
            before = scores[name].epochs if name in scores else 0
            value = _tuned(run, name, number, short_tuning(tuning(name), epochs))
            scores[name] = Score(value, before + epochs)
        left = sorted(left, key=lambda name: -scores[name].value)
    order = [*left, *(name for name in sorted(scores) if name not in left)]
    return {name: scores[name] for name in order if name in scores}


def _tuned(run: AdaptRun, name: str, number: int, settings: TuneSettings) -> float:
    """Tune a finalist for a round; return its metric on the held-out part."""
    at = f"{FINALISTS}/{name}/round{number}"
    done = run.path(f"{at}.json")
    if done.exists():
        return float(json.loads(done.read_text())["value"])
    network = f"{FINALISTS}/{name}/round{number - 1}.onnx" if number else f"{FINALISTS}/{name}.onnx"
    result = run.tune_file(network, at, settings, f"{at}.onnx")
    assert result.held is not None
    if run.ranks.first:
        said = {"value": result.held, "epochs": settings.epochs}
        run.kept.write(f"{at}.json", as_json(said))
    return result.held
