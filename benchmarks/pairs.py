"""Run things in turn and compare their medians, pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(
    sides: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2
) -> dict[str, list[float]]:
    """Call every side once a round; returns seconds of each call, warm-up rounds left out."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmup + rounds):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def say(seconds: Mapping[str, list[float]], base: str) -> None:
    """Print median milliseconds of each side and the median ratio to ``base``, pair by pair."""
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds[base], strict=True)]
        print(
            f"{name:34} {1000 * statistics.median(times):9.2f} ms   "
            f"x{statistics.median(ratios):.3f} of {base} "
            f"(min x{min(ratios):.3f}, max x{max(ratios):.3f})"
        )
