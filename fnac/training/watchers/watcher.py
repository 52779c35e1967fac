"""Callbacks of a training: its beginning, every row of its log, its end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

Figures = Mapping[str, float | int | str]
"""A row of metrics.csv: ``step``, ``epoch``, ``loss``, ``lr``, ``val_mIoU``, ..."""


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained.

    stage     ``search``, ``tune`` or ``heal``
    folder    of checkpoint and metrics.csv
    total     steps in all; first: steps that were done before (a resumed run)
    settings  section of the stage, as plain values
    """

    stage: str
    folder: Path
    total: int
    first: int
    settings: Mapping[str, Any]


class Watcher:
    """Looks at trainings; a method that is not overridden does nothing.

    Rows come every ``log_every`` steps, together; in a distributed run the first process has them.
    What a watcher raises ends the run as it is: it can be resumed.
    """

    def begin(self, training: Training) -> None:
        """A training begins, or goes on."""

    def row(self, training: Training, figures: Figures) -> None:
        """A step was taken (``loss``), or the network was measured (``val_...``)."""

    def stopped(self, training: Training, error: BaseException) -> None:
        """The training was interrupted or failed; ``end`` comes next."""

    def end(self, training: Training) -> None:
        """The training is over, or was interrupted."""


_WATCHERS: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextlib.contextmanager
def watched_by(*watchers: Watcher) -> Iterator[None]:
    """Let watchers look at every training that is run meanwhile."""
    before = _WATCHERS.set((*_WATCHERS.get(), *watchers))
    try:
        yield
    finally:
        _WATCHERS.reset(before)


class Watchers:
    """All that look at one training."""

    def __init__(self, training: Training, watchers: Sequence[Watcher] = ()) -> None:
        self.training, self.watchers = training, tuple(watchers)

    def row(self, figures: Figures) -> None:
        """Hand a row on."""
        for watcher in self.watchers:
            watcher.row(self.training, figures)


@contextlib.contextmanager
def watching(watchers: Watchers) -> Iterator[None]:
    """Tell watchers of the beginning of a training, and of its end, however it ends.

    Each one that began is told of the end, even if another one raises.
    """
    with contextlib.ExitStack() as ends:
        for watcher in watchers.watchers:
            watcher.begin(watchers.training)
            ends.callback(watcher.end, watchers.training)
            ends.push(_tell_if_stopped(watcher, watchers.training))
        yield


def _tell_if_stopped(
    watcher: Watcher, training: Training
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    def left(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            watcher.stopped(training, error)

    return left


def current() -> tuple[Watcher, ...]:
    """Return the watchers that ``watched_by`` has set."""
    return _WATCHERS.get()
