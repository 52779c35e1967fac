"""Progress of long work: a bar with an ETA on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger(__name__)

LINE_EVERY_S = 20.0


class StepProgress:
    """Shows the progress of a run of ``total`` steps and its current figures; a context manager.

    start    steps done before (a resumed run): they do not count for the ETA
    shown    False on all ranks but the first
    unit     what is counted, as the lines say it
    brief    say nothing at the end, unless it took long enough for a line before
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
    ) -> None:
        self._unit, self._brief = unit, brief
        self._label, self._total, self._first, self._done = label, total, start, start
        self._said = start
        self._shown = shown
        self._figures = ""
        self._bar: Progress | None = None
        self._started = self._spoke = time.monotonic()
        if shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(label, total=total, completed=start, figures="")

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

    def figures(self, **values: float | str) -> None:
        """Set the figures to show: ``loss=0.61, mIoU="44.1"``."""
        self._figures = ", ".join(
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}"
            for name, value in values.items()
        )

    def advance(self, done: int) -> None:
        """Report that ``done`` steps are complete."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=self._figures)
        elif time.monotonic() - self._spoke >= LINE_EVERY_S:
            self._say()

    def _say(self) -> None:
        self._spoke, self._said = time.monotonic(), self._done
        if not self._shown:
            return
        elapsed = self._spoke - self._started
        left = elapsed * (self._total - self._done) / max(1, self._done - self._first)
        fields: list[Any] = [self._label, self._unit, self._done, self._total, _clock(elapsed)]
        logger.info(
            "%s: %s %d of %d, %s elapsed%s%s",
            *fields,
            f", {_clock(left)} to go" if self._done < self._total else "",
            f"; {self._figures}" if self._figures else "",
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
