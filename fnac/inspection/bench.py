"""Latency of ONNX files in onnxruntime, timed alternately so that ratios survive noise."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fnac.errors import UsageError
from fnac.passes.errors import UnsupportedGraphError
from fnac.passes.graph import Graph
from fnac.passes.graph.model_checks import one_line
from fnac.passes.running.run import random_feed
from fnac.passes.running.runner import ort_errors


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """How to measure.

    size     (H, W) of the images; default: the file's own
    batch    images at once
    runs     timed runs of each file, after ``warmup`` runs that are not counted
    threads  threads of onnxruntime; default: its own choice
    """

    section: ClassVar[str] = "bench"

    size: tuple[int, int] | None = None
    batch: int = 1
    runs: int = 30
    warmup: int = 3
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("runs", "batch", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"bench: --{name} {value}: wanted at least 1")
        if self.warmup < 0:
            raise UsageError(f"bench: warmup {self.warmup}: wanted zero or more")


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """Seconds of every timed run, by file, in the order they were given.

    sizes  (H, W) of the images of each file; tasks: what each file is for, where it says so
    """

    files: tuple[str, ...]
    seconds: tuple[tuple[float, ...], ...]
    provider: str
    sizes: tuple[tuple[int, int] | None, ...] = ()
    tasks: tuple[str | None, ...] = ()
    batch: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac bench --json`` prints; one file: its figures on top."""
        files = []
        for name, times in zip(self.files, self.seconds, strict=True):
            files.append({"file": name, "latency_ms": _summary(times), "runs": len(times)})
        result: dict[str, Any] = {"provider": self.provider, "files": files}
        if len(files) == 1:
            result["latency_ms"] = files[0]["latency_ms"]
        else:
            result["ratios"] = self.ratios()
        return result

    def ratios(self) -> list[float]:
        """Return the median over runs of (file / first file), pair by pair."""
        first = self.seconds[0]
        return [
            statistics.median(b / a for a, b in zip(first, times, strict=True))
            for times in self.seconds
        ]

    def conditions(self) -> str:
        """Return how the times were taken: images, runs, provider."""
        sizes = dict.fromkeys("any size" if s is None else "{}x{}".format(*s) for s in self.sizes)
        images = f"{self.batch} image{'' if self.batch == 1 else 's'} of {', '.join(sizes)}"
        return f"{images}, {len(self.seconds[0])} runs of each file in turn, {self.provider}"

    def unlike(self) -> str | None:
        """Say why the files should not be compared; None if they may."""
        tasks = list(dict.fromkeys(task for task in self.tasks if task))
        if len(tasks) > 1:
            return (
                f"the files are for different tasks ({', '.join(tasks)}): their ratio says little"
            )
        if len(set(self.sizes)) > 1:
            return "the files read images of different sizes: --size HxW gives them the same"
        return None

    def rows(self) -> list[list[str]]:
        """Return the table rows that ``fnac bench`` prints."""
        rows = []
        for name, times, ratio in zip(self.files, self.seconds, self.ratios(), strict=True):
            s = _summary(times)
            figures = [f"{s[key]:.3f}" for key in ("min", "median", "max")]
            rows.append([name, *figures, f"{ratio:.3f}"])
        return rows


def bench(paths: Sequence[Path], settings: BenchSettings) -> BenchResult:
    """Time the files alternately: A B A B ...

    Raises UnsupportedGraphError naming a file that onnxruntime cannot run.
    """
    from fnac.stages.opening.sessions import open_session

    sessions = []
    sizes: list[tuple[int, int] | None] = []
    tasks: list[str | None] = []
    caught: tuple[type[Exception], ...] = (RuntimeError, ValueError, *ort_errors())
    for path in paths:
        graph = Graph.load(path)
        sizes.append(settings.size or graph.image_size())
        tasks.append(graph.manifest.get("task"))
        feed = {
            name: np.repeat(array[:1], settings.batch, axis=0) if array.ndim else array
            for name, array in random_feed(graph, settings.size).items()
        }
        try:
            session = open_session(path, "auto", settings.threads or 0)
            for _ in range(max(1, settings.warmup)):
                session.run(None, feed)
        except caught as error:
            words = one_line(error)
            raise UnsupportedGraphError(f"{path}: onnxruntime cannot run it: {words}") from error
        sessions.append((session, feed))
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(settings.runs):
        for times, (session, feed) in zip(seconds, sessions, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
    provider = sessions[0][0].get_providers()[0]
    return BenchResult(
        tuple(map(str, paths)),
        tuple(map(tuple, seconds)),
        provider,
        tuple(sizes),
        tuple(tasks),
        settings.batch,
    )


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {
        "min": 1000 * min(times),
        "median": 1000 * statistics.median(times),
        "max": 1000 * max(times),
    }
