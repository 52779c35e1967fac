"""Run a pipeline of passes and verify what every pass promises.

After each pass the graph is sorted, checked, shape-inferred and, where the pass promises outputs,
run before and after on the same random input (:mod:`.running.verify`). What happened is the
*ledger*: one entry for each pass, with every ``Rewrote`` and ``Left``, what became of the weights,
the verdict and the measured drift.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .base import Keeps, Pass, Report
from .errors import OutputsDifferError, PassFailedError, UnsupportedGraphError
from .graph import Graph
from .running.run import check_runs, probe_size, random_feed
from .running.runner import Arrays, Runner
from .running.verify import Difference, compare

log = logging.getLogger(__name__)

Interface = list[tuple[str, Any, tuple[Any, ...]]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the ledger: what one pass did and whether it kept its promise.

    ``verdict``  ``equal`` (outputs proven equal), ``drift`` (may change outputs; how far is in
                 ``max_abs_diff``), ``not run`` (nothing rewritten) or ``unverified``
    """

    name: str
    arguments: dict[str, Any]
    keeps: str
    report: Report
    seconds: float
    verdict: str
    max_abs_diff: float | None = None
    tolerance: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as ``ledger.json`` holds it."""
        return {
            "pass": self.name,
            "arguments": self.arguments,
            "keeps": self.keeps,
            "verdict": self.verdict,
            "max_abs_diff": self.max_abs_diff,
            "tolerance": self.tolerance,
            "seconds": round(self.seconds, 4),
            "rewrote": self.report.rewrote,
            "left": self.report.left,
            "declined": self.report.declined,
            "initializers": self.report.initializers,
        }


class PassManager:
    """Applies passes in order to a graph, in place, and writes the ledger.

    verify     run the checks after each pass; turning them off is the user's risk
    dump       folder that gets the graph after each pass (``01-name.onnx``)
    on_pass    called with each entry as it is made
    """

    def __init__(
        self,
        *,
        verify: bool = True,
        dump: Path | None = None,
        on_pass: Callable[[Entry], None] | None = None,
    ) -> None:
        self.verify = verify
        self.dump = dump
        self.on_pass = on_pass
        self.ledger: list[Entry] = []
        self.runner = Runner()

    def run(self, passes: Iterable[Pass], graph: Graph) -> Graph:
        """Apply ``passes`` to ``graph`` in place and return it.

        Raises PassFailedError when a pass leaves a graph that does not check or run, and
        OutputsDifferError when one that keeps outputs changed them; both name the pass and, where
        it can be told, the first diverging node.
        """
        for one in passes:
            entry = self._apply(one, graph)
            self.ledger.append(entry)
            graph.manifest.setdefault("ledger", []).append(
                {"pass": entry.name, "arguments": entry.arguments, "verdict": entry.verdict}
            )
            if self.dump is not None:
                graph.save(self.dump / f"{len(self.ledger):02d}-{one.name}.onnx")
            log.debug("%s: %s, %d rewritten", one.name, entry.verdict, len(entry.report.rewrote))
            if self.on_pass is not None:
                self.on_pass(entry)
        return graph

    def _apply(self, one: Pass, graph: Graph) -> Entry:
        start = time.perf_counter()
        before = graph.copy() if self.verify else None
        verdict, difference = "not run", None
        try:
            report = one.run(graph)
            if report.rewrote:
                verdict = "unverified"
                graph.toposort()
                if before is not None:
                    verdict, difference = self._check(one, before, graph)
        except PassFailedError as error:
            if before is not None:
                _refuse_broken(before, error, self.runner)
            raise
        return Entry(
            name=one.name,
            arguments=arguments_of(one),
            keeps=" ".join(flag.name.lower() for flag in one.keeps if flag.name) or "nothing",
            report=report,
            seconds=time.perf_counter() - start,
            verdict=verdict,
            max_abs_diff=difference.max_abs_diff if difference else None,
            tolerance=difference.tolerance if difference else None,
        )

    def _check(self, one: Pass, before: Graph, after: Graph) -> tuple[str, Difference | None]:
        check_structure(one, after)
        if Keeps.INTERFACE in one.keeps and not _same_interface(before, after):
            raise PassFailedError(
                f"{one.name}: promised to keep the interface {interface(before)} but left "
                f"{interface(after)}; this is a bug of the pass"
            )
        verdict, drift = "drift", None
        feed: Arrays | None = None
        for what, reference, twin in one.proofs(before, after):
            feed = feed or random_feed(before, probe_size(before, self.runner))
            difference = compare(reference, twin, feed=feed, runner=self.runner)
            if not difference.equal:
                at = difference.first_difference or "the outputs"
                than = "the graph before it" if reference is before else "its reference"
                raise OutputsDifferError(
                    f"{one.name}: {what} must compute what {than} computed, but "
                    f"parts from it at node {at}: {difference.detail}"
                )
            verdict = "equal"
            if drift is None or difference.max_abs_diff > drift.max_abs_diff:
                drift = difference
        if verdict == "drift":
            drift = _measure_drift(before, after, self.runner)
        return verdict, drift


def _refuse_broken(before: Graph, error: PassFailedError, runner: Runner) -> None:
    """Raise UnsupportedGraphError if the graph that a pass was given does not run either."""
    try:
        before.check()
        check_runs(before, runner)
    except UnsupportedGraphError as fault:
        raise UnsupportedGraphError(f"the network is broken as it is: {fault}") from error


def check_structure(one: Pass, graph: Graph) -> None:
    """Raise PassFailedError, naming the pass, unless ``graph`` checks and infers."""
    try:
        graph.refresh_shapes(graph.check())
    except UnsupportedGraphError as error:
        raise PassFailedError(f"{one.name}: left a broken graph: {error}") from error


def interface(graph: Graph) -> Interface:
    """Return name, dtype and shape of every input and output."""
    return [
        (t.name, str(t.dtype), tuple(t.shape) if t.shape is not None else ())
        for t in [*graph.inputs, *graph.outputs]
    ]


def _same_interface(before: Graph, after: Graph) -> bool:
    """Compare interfaces; sizes that were only inferred after the pass are inferred before it."""
    if _fits(before, after):
        return True
    with contextlib.suppress(UnsupportedGraphError):
        before.refresh_shapes()
    return _fits(before, after)


def _fits(before: Graph, after: Graph) -> bool:
    """Say whether the interface is the same; of an output's shape more may be known than before."""
    if interface(before) == interface(after):
        return True
    inputs = len(before.inputs)
    if interface(before)[:inputs] != interface(after)[:inputs]:
        return False
    pairs = list(zip(before.outputs, after.outputs, strict=False))
    return len(before.outputs) == len(after.outputs) and all(
        old.name == new.name and old.dtype == new.dtype and _better(old.shape, new.shape)
        for old, new in pairs
    )


def _better(old: Sequence[object] | None, new: Sequence[object] | None) -> bool:
    if old is None or new is None:
        return old is None
    return len(old) == len(new) and all(a == b or not isinstance(a, int) for a, b in zip(old, new))


def arguments_of(one: Pass) -> dict[str, Any]:
    """Return a pass's arguments as plain JSON values; arrays and models by their kind."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if isinstance(value, tuple):
            value = list(value)
        simple = (str, int, float, bool, list, dict, type(None))
        plain[field.name] = value if isinstance(value, simple) else f"<{type(value).__name__}>"
    return plain


def _measure_drift(before: Graph, after: Graph, runner: Runner) -> Difference | None:
    """Return how much a pass changed the outputs it may change; None if not comparable."""
    if [t.name for t in before.inputs] != [t.name for t in after.inputs]:
        runner.run(after, random_feed(after, probe_size(after, runner)))
        return None
    feed = random_feed(after, probe_size(after, runner))
    b = list(runner.run(after, feed).values())
    if len(before.outputs) != len(b):
        return None
    try:
        a = list(runner.run(before, feed).values())
    except PassFailedError:
        return None
    if any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
        return None
    gap = max(float(abs(x.astype("f8") - y.astype("f8")).max()) for x, y in zip(a, b, strict=True))
    return Difference(False, gap, 0.0, None)
