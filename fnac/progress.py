"""Progress of long work: a bar with an ETA on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

logger = logging.getLogger(__name__)

LINE_EVERY_S = 20.0
RATE_OVER = 50
"""Steps that the speed is taken over."""
BYTES_OF_RSS = 1 if sys.platform == "darwin" else 1024


class StepProgress:
    """Shows the progress of a run of ``total`` steps and its current figures; a context manager.

    start    steps done before (a resumed run): they do not count for the ETA
    shown    False on all ranks but the first
    unit     what is counted, as the lines say it
    brief    say nothing at the end, unless it took long enough for a line before
    images   images that a step takes: their number a second is shown; 0: it is not
    kind     name of the kind of a step (from 0): steps of one kind take about as long. The ETA
             adds up what each kind has taken so far; while one has not come yet, it is a least
    memory   returns bytes in use, to be shown; None: the most that the process has had
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        start: int = 0,
        shown: bool = True,
        unit: str = "step",
        brief: bool = False,
        images: int = 0,
        kind: Callable[[int], str] | None = None,
        memory: Callable[[], float] | None = None,
    ) -> None:
        self._memory = memory or peak_memory
        self._unit, self._brief, self._images = unit, brief, images
        self._label, self._total, self._first, self._done = label, total, start, start
        self._said = start
        self._shown = shown
        self._figures = ""
        self._bar: Progress | None = None
        self._started = self._spoke = self._last = time.monotonic()
        self._ahead = StepsAhead(start, total, kind or (lambda _step: ""))
        self._recent: deque[tuple[float, int]] = deque([(self._started, start)], RATE_OVER)
        if shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA {task.fields[eta]}"),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
                transient=True,  # the line that is said at the end stays
            )
            self._task = self._bar.add_task(
                label, total=total, completed=start, figures="", eta="-:--"
            )

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar; print the last figures on one line."""
        if self._bar is not None:
            self._bar.stop()
        quiet = self._brief and self._said == self._first
        if kind is None and self._done > self._said and not quiet:
            self._say()

    def phase(self, name: str) -> None:
        """Say which part of the work the next steps are of: ``search, warm-up``."""
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def figures(self, **values: float | str) -> None:
        """Set the figures to show: ``loss=0.61, mIoU="44.1"``."""
        self._figures = ", ".join(
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}"
            for name, value in values.items()
        )

    def advance(self, done: int) -> None:
        """Report that ``done`` steps are complete."""
        now = time.monotonic()
        self._ahead.took(self._done, done, now - self._last)
        self._done, self._last = done, now
        self._recent.append((now, done))
        if self._bar is not None:
            shown = ", ".join(part for part in (self._figures, self._speed()) if part)
            self._bar.update(self._task, completed=done, figures=shown, eta=self._eta())
        elif now - self._spoke >= LINE_EVERY_S:
            self._say()

    def _speed(self) -> str:
        """Return images a second over the last steps, and the most memory that was taken."""
        (began, first), (now, done) = self._recent[0], self._recent[-1]
        if not self._images or now <= began:
            return ""
        peak = self._memory()
        return f"{self._images * (done - first) / (now - began):.3g} images/s, {peak / 1e9:.1f} GB"

    def _eta(self) -> str:
        seconds, whole = self._ahead.seconds()
        return f"{'' if whole else '>'}{_clock(seconds)}"

    def _say(self) -> None:
        self._spoke, self._said = time.monotonic(), self._done
        if not self._shown:
            return
        left = f", {self._eta()} to go" if self._done < self._total else ""
        told = "; ".join(part for part in (self._speed(), self._figures) if part)
        logger.info(
            "%s: %s %d of %d, %s elapsed%s%s",
            *(self._label, self._unit, self._done, self._total),
            *(_clock(self._spoke - self._started), left, f"; {told}" if told else ""),
        )


def peak_memory() -> float:
    """Return the most bytes of main memory that this process has had."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_OF_RSS)


class StepsAhead:
    """What the steps that are left will take, by what steps of their kind have taken."""

    def __init__(self, first: int, total: int, kind: Callable[[int], str]) -> None:
        self._kind = kind
        self._left = Counter(kind(step) for step in range(first, total))
        self._steps: Counter[str] = Counter()
        self._took: dict[str, float] = {}

    def took(self, first: int, after: int, seconds: float) -> None:
        """Say what the steps from ``first`` up to ``after`` took; as one they are of one kind."""
        if after <= first:
            return
        for step in range(first, after):
            self._left[self._kind(step)] -= 1
        kind = self._kind(after - 1)
        self._steps[kind] += after - first
        self._took[kind] = self._took.get(kind, 0.0) + seconds

    def seconds(self) -> tuple[float, bool]:
        """Return the seconds that are left, and whether every kind of step was seen."""
        steps = sum(self._steps.values())
        mean = sum(self._took.values()) / steps if steps else 0.0
        left, whole = 0.0, True
        for kind, count in self._left.items():
            seen = self._steps[kind]
            left += count * (self._took[kind] / seen if seen else mean)
            whole &= bool(seen) or count <= 0
        return left, whole


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
