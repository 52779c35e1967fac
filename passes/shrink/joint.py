"""How much each width matters, measured in a network where every set is already narrow.

A set measured alone, in a network that is whole otherwise, says little of what its width costs in
one that is narrow everywhere: later fits make errors good, errors of several sets meet. So each
set of the narrowed network is narrowed a little more, the rest left as it is, and the change of the
answers is set against the change at its readers (the elimination's curve in sequence). Around that
choice the error is taken to be

    error(widths) = error now + sum_i gain_i (curve_i(width_i) - curve_i(width now)).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..remap.gram import Floats
from ..running.features import Features
from .answers import Judge
from .narrowing import Narrowing, Step
from .sensitivity import Sensitivity, spread

FURTHER = 0.75  # of its width, to which each set is narrowed to measure its gain
SMALLEST_GAIN = 0.05  # of the median gain: what seems to cost nothing costs a little
LEAST = 1e-9  # changes of a curve below are float noise


@dataclasses.dataclass(frozen=True)
class Slope:
    """The error by width of one set, with the other sets as in a narrowed network.

    widths  that may be chosen, ascending
    curve   (count + 1,) relative error at the readers of every width, in sequence
    now     the width that it has
    gain    error of the answers for each unit of the curve
    """

    name: str
    count: int
    widths: tuple[int, ...]
    curve: Floats
    now: int
    gain: float

    def error(self, width: int) -> float:
        """Return the change of the output error; negative where the set gets wider."""
        return self.gain * float(self.curve[width] - self.curve[self.now])

    def near(self, factor: float) -> Slope:
        """Return the slope with widths up to ``factor`` away, one step each way at least."""
        place = self.widths.index(self.now)
        near = tuple(
            width
            for number, width in enumerate(self.widths)
            if abs(number - place) <= 1 or self.now / factor <= width <= self.now * factor
        )
        return dataclasses.replace(self, widths=near)


def measure_slopes(
    narrowing: Narrowing,
    steps: Sequence[Step],
    known: Sequence[Sensitivity],
    judge: Judge,
    *,
    most: int,
) -> list[Slope]:
    """Measure how the outputs of a narrowed network change if each set gets slightly narrower.

    narrowing  the network, narrowed by ``steps`` to its end; its statistics not matched
    steps      one for each of ``known``, in the order of the network
    most       sets that are measured, spread evenly

    Takes about as long as narrowing the network once. The other sets, and those at their least
    width, take the median gain.
    """
    again = narrowing.restarted()
    features = Features(again.result, judge.images, batch=judge.features.batch)
    now = judge.error(features.fork(again.result))
    gains: list[float | None] = []
    measured = spread(len(known), most)
    curves = [one.curve if step.curve is None else step.curve for one, step in zip(known, steps)]
    for number, (one, step, curve) in enumerate(zip(known, steps, curves, strict=True)):
        narrower = [width for width in one.widths if width < step.width]
        if not narrower or number not in measured:
            gains.append(None)
            continue
        width = min(narrower, key=lambda w: abs(w - FURTHER * step.width))
        look = again.look(one.name)
        elimination = again.eliminate(look)
        features.advance(again.place(one.name))
        with again.trial(look):
            again.cut(look, width, elimination)
            error = judge.error(features.fork(again.result))
        gains.append((error - now) / max(float(curve[width] - curve[step.width]), LEAST))
    above = [gain for gain in gains if gain is not None and gain > 0]
    middle = float(np.median(above)) if above else 1.0
    least = SMALLEST_GAIN * middle
    return [
        Slope(
            one.name,
            one.count,
            one.widths,
            curve,
            step.width,
            middle if gain is None else max(gain, least),
        )
        for one, step, curve, gain in zip(known, steps, curves, gains, strict=True)
    ]
