"""How much each width of each set of hidden channels changes the network's outputs.

The elimination gives the error of every width at the readers; what that does to the answers is
measured for a few widths, on images that the fit has not seen, and scales the curve. Only what
lies behind a set is run for it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..blocks.hidden_channels import HiddenChannels
from ..remap.eliminate import width_on_grid
from ..remap.gram import Floats, too_few_pixels
from .answers import Judge
from .narrowing import Narrowing
from .original import Original

log = logging.getLogger(__name__)

PROBES = (0.5, 0.25)  # shares that are measured
LEAST = 1e-9  # errors below are float noise


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The error by width of one set of hidden channels.

    widths   that may be chosen, ascending; the last one is all
    curve    (count + 1,) relative error at the readers of every width
    probed   width -> error of the answers, measured
    """

    name: str
    count: int
    widths: tuple[int, ...]
    curve: Floats
    probed: dict[int, float]

    def error(self, width: int) -> float:
        """Return the output error that this width alone causes, by the scaled curve."""
        if width == self.count:
            return 0.0
        local = max(float(self.curve[width]), LEAST)
        known = sorted(self.probed.items())
        logs = np.log([max(float(self.curve[w]), LEAST) for w, _ in known])
        gains = np.log([max(e, LEAST) / max(float(self.curve[w]), LEAST) for w, e in known])
        order = np.argsort(logs)
        gain = float(np.exp(np.interp(np.log(local), logs[order], gains[order])))
        return local * gain


def width_choices(count: int, multiple: int, least: float) -> tuple[int, ...]:
    """Return the widths that a set may get: multiples, at most 16, from a least share to all."""
    steps = sorted({width_on_grid(count, share, multiple) for share in _shares(least)} | {count})
    return tuple(steps)


def spread(count: int, most: int) -> set[int]:
    """Return at most ``most`` places of 0 to count - 1, the first and the last among them."""
    return set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist())


def _shares(least: float) -> list[float]:
    return [share for share in (i / 16 for i in range(1, 16)) if share >= least]


@dataclasses.dataclass(frozen=True)
class Probing:
    """How sets of hidden channels are measured.

    multiple  of channels that widths keep to
    least     share of its channels that a set keeps at the least
    most      sets whose effect on the outputs is measured; those between take their neighbours'
    pixels    that moments are taken over, of all images together
    """

    multiple: int
    least: float
    most: int
    pixels: int


def measure_sensitivities(
    original: Original,
    sets: Sequence[HiddenChannels],
    judge: Judge,
    how: Probing,
    *,
    known: Mapping[str, Sensitivity],
    progress: Callable[[int, Sensitivity | None], None],
) -> tuple[list[Sensitivity], dict[str, str]]:
    """Measure each set by itself, in network order; also return why others are left.

    known     what an earlier run has measured already, by the set's name
    progress  told of each set, and what was measured of it
    """
    narrowing = Narrowing(original, pixels=how.pixels)
    measured = spread(len(sets), how.most)
    sensitivities: list[Sensitivity] = []
    left: dict[str, str] = {}
    for number, channels in enumerate(sets):
        one = known.get(channels.name)
        if one is None:
            widths = width_choices(channels.count, how.multiple, how.least)
            shares = PROBES if number in measured else ()
            probes = {width_on_grid(channels.count, share, how.multiple) for share in shares}
            one = _measured(narrowing, channels, widths, probes, judge, left)
        if one is not None:
            sensitivities.append(one)
        progress(number + 1, one)
    return _filled(sensitivities), left


def _measured(
    narrowing: Narrowing,
    channels: HiddenChannels,
    widths: tuple[int, ...],
    probes: set[int],
    judge: Judge,
    left: dict[str, str],
) -> Sensitivity | None:
    """Measure one set at the widths ``probes``; None, with why in ``left``, where it must stay."""
    name, count = channels.name, channels.count
    if len(widths) == 1:
        left[name] = f"its {count} channels are too few to go by the multiple that is asked for"
        return None
    look = narrowing.look(name)
    few = [words for moments in look.moments.values() if (words := too_few_pixels(moments))]
    if few:
        left[name] = few[0]
        return None
    elimination = narrowing.eliminate(look)
    probed: dict[int, float] = {}
    judge.features.advance(narrowing.place(name))
    for width in sorted(probes - {count}):
        with narrowing.trial(look):
            narrowing.cut(look, width, elimination)
            probed[width] = judge.error(judge.features.fork(narrowing.result))
    return Sensitivity(name, count, widths, elimination.error, probed)


def _filled(measured: Sequence[Sensitivity]) -> list[Sensitivity]:
    """Give unmeasured sets the mean gain of the nearest measured ones."""
    result = []
    for place, one in enumerate(measured):
        if one.probed:
            result.append(one)
            continue
        near = sorted((abs(i - place), i) for i, other in enumerate(measured) if other.probed)[:2]
        probed = {}
        for width in (width for width in one.widths if width < one.count):
            share = width / one.count
            gains = []
            for _, i in near:
                other = measured[i]
                like = min(other.probed, key=lambda w: abs(w / other.count - share))
                gains.append(other.probed[like] / max(float(other.curve[like]), LEAST))
            scale = float(np.exp(np.mean(np.log(np.maximum(gains, LEAST))))) if gains else 1.0
            probed[width] = scale * max(float(one.curve[width]), LEAST)
        result.append(dataclasses.replace(one, probed=probed))
    return result
