"""``shrink``: a network becomes cheaper without labels and without training, in this order.

open the file, measure what each width does to the answers, choose widths for the budget, narrow the
network in sequence with fitted weights, match its statistics, write it with its interface.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnac.architectures.budget import Budget, say
from fnac.architectures.latency import LatencySettings, time_graph
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.findings import FINDINGS, Finding, written
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.shapes.sized_shapes import shapes_at
from fnac.passes.shrink.answers import Judge
from fnac.passes.shrink.sensitivity import Sensitivity, measure_sensitivities
from fnac.progress import StepProgress
from fnac.stages.opening.calibration import unlike_training
from fnac.stages.shrinking.choice import Choice, Chooser, distinct, search_widths
from fnac.stages.shrinking.journal import Journal
from fnac.stages.shrinking.maker import MOST_MEASURED, Maker, Small
from fnac.stages.shrinking.milliseconds import ROUNDS, LatencyGoal
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import (
    Shrinkable,
    check_images,
    open_shrinkable,
    with_interface_of,
)

logger = logging.getLogger(__name__)

LEAST_TO_VARY = 3  # images; with more of them two are held back
TIMED = 40  # runs of each network that is timed
OTHER_BUDGETS = (0.9, 0.75, 0.6, 0.5, 0.4)


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one set of hidden channels.

    ``madds_saved``  by its width alone, the others as chosen
    ``error``        of the answers that its width alone makes, predicted
    """

    name: str
    was: int
    width: int
    madds_saved: int
    error: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds an image on this machine: the original's, the new network's, the budget."""

    before: float
    after: float
    budget: float


@dataclasses.dataclass(frozen=True)
class Tried:
    """Widths that were made whole.

    ``widths``     set of hidden channels -> its width
    ``predicted``  error of the answers as the sum of what each width does alone
    ``error``      as measured on the whole network
    ``random``     drawn to compare with, not chosen
    """

    widths: Mapping[str, int]
    madds: int
    params: int
    predicted: float
    error: float
    random: bool = False


@dataclasses.dataclass(frozen=True)
class ShrinkResult:
    """The smaller network and what is known of it.

    ``budget``, ``unit``  MAdds or parameters; of a budget of latency, the MAdds that met it
    ``error``  of the answers on images held back: KL in nats of class scores, else relative
    ``curve``  other budgets: cost, predicted error
    """

    graph: Graph
    before: Mapping[str, int]
    after: Mapping[str, int]
    budget: int
    unit: str
    latency: Latency | None
    error: float
    rows: tuple[Row, ...]
    curve: tuple[tuple[int, float], ...]
    left: Mapping[str, str]
    findings: tuple[Finding, ...]
    measured_on: str
    seconds: float
    tried: tuple[Tried, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``fnac shrink --json`` prints, the file's name left out."""
        return {
            "madds_before": self.before["madds"],
            "madds_after": self.after["madds"],
            "params_before": self.before["params"],
            "params_after": self.after["params"],
            "budget": self.budget,
            "budget_of": self.unit,
            "latency_ms": None if self.latency is None else dataclasses.asdict(self.latency),
            "error": self.error,
            "error_is": self.measured_on,
            "blocks": [
                {
                    "name": row.name,
                    "was": row.was,
                    "is": row.width,
                    "madds_saved": row.madds_saved,
                    "error": row.error,
                }
                for row in self.rows
            ],
            "curve": [{"madds": cost, "error": error} for cost, error in self.curve],
            "left": dict(self.left),
            FINDINGS: written(self.findings),
            "seconds": round(self.seconds, 1),
        }


def shrink(
    graph: Graph,
    images: np.ndarray,
    budget: Budget,
    settings: ShrinkSettings | None = None,
    *,
    only_curve: bool = False,
    journal: Journal | None = None,
) -> ShrinkResult:
    """Return a cheaper network that answers like ``graph``, which is left as it is.

    images      (N, C, H, W) float32, preprocessed for the network; every fifth (at most
                ``held_back``) measures, the others fit
    budget      of the whole network, in MAdds, parameters or milliseconds
    only_curve  choose and predict, make nothing: ``graph`` of the result is the original
    journal     what an earlier run measured, and where this one keeps what it measures

    Raises UsageError for a budget out of reach, DataError for images that nothing can be fitted to,
    UnsupportedGraphError for a network whose channels must all stay.
    """
    return shrink_to_several(
        graph, images, budget, settings, only_curve=only_curve, journal=journal
    )[0]


def shrink_to_several(
    graph: Graph,
    images: np.ndarray,
    budget: Budget,
    settings: ShrinkSettings | None = None,
    *,
    count: int = 1,
    compared: int = 0,
    only_curve: bool = False,
    journal: Journal | None = None,
) -> list[ShrinkResult]:
    """Return up to ``count`` different networks within the budget, see :func:`shrink`.

    They come in the order of their errors, the best first; one for a budget in milliseconds.

    compared  choices of the same cost that are drawn at random and made whole to compare with
    """
    started = time.perf_counter()
    settings = settings or ShrinkSettings()
    check_images(images)
    fit, held = split_images(images, settings)
    manager = PassManager(verify=not settings.no_verify)
    subject = open_shrinkable(
        graph, heads=settings.heads, between=settings.between, manager=manager
    )
    findings = tuple(filter(None, [unlike_training(subject.graph, fit)]))
    for finding in findings:
        logger.warning("%s", finding)
    judge = Judge(subject.graph, held, batch=settings.batch)
    if judge.single:
        raise DataError(
            f"--data: {len(images)} images, of which {len(held)} is held back: a network that "
            f"answers one row of numbers an image ({judge.said}) is judged by how they vary; at "
            f"least {LEAST_TO_VARY + 1} images are wanted, and 2 of them held back "
            "(shrink.held_back)"
        )
    journal = journal or Journal(None, "")
    known, left = _measure(subject, fit, judge, settings, journal)
    unit = "madds" if budget.of == "latency" else budget.of
    chooser = Chooser(known, subject.costs([one.name for one in known], unit))
    goal = None
    if budget.of == "latency":
        goal = LatencyGoal.of(budget, subject.graph, _in_ms)
        limit = goal.madds(chooser, subject.graph, subject.madds)
    else:
        limit = _resolved(budget, chooser, subject)
    curve = _curve(chooser, subject, unit)
    names = [one.name for one in known]
    tried: tuple[Tried, ...] = ()
    outcomes: list[tuple[Choice, Graph, float, Latency | None]] = []
    if only_curve:
        predicted = chooser.by_program(limit)
        assert predicted is not None  # the budget is within reach
        outcomes.append((predicted, graph, predicted.predicted, None))
    else:
        maker = Maker(subject, fit, judge, known, settings)
        ranked, best, latency = _make(chooser, limit, maker, settings, journal, goal)
        drawn = _draw(chooser, limit, maker, compared)
        tried = tuple(
            _tried(subject, names, one, random=random)
            for choices, random in ((ranked, False), (drawn, True))
            for one in choices
            if one.measured is not None
        )
        for place, choice in enumerate(distinct(ranked, 1 if goal else count)):
            network = best if place == 0 else maker.network(choice.widths)
            small = _finished(graph, network, choice, known)
            outcomes.append((choice, small, network.error, latency))
    madds = subject.costs(names, "madds")
    results = []
    for choice, small, error, latency in outcomes:
        counted = profile(small)
        results.append(
            ShrinkResult(
                graph=small,
                before={"madds": subject.madds, "params": subject.params},
                after={"madds": counted.madds, "params": counted.params},
                budget=limit,
                unit=unit,
                latency=latency,
                error=error,
                rows=tuple(_row(madds, known, choice, i) for i in range(len(known))),
                curve=curve,
                left={**subject.left, **left},
                findings=findings,
                measured_on=judge.said,
                seconds=time.perf_counter() - started,
                tried=tried,
            )
        )
    return results


def split_images(images: np.ndarray, settings: ShrinkSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the images to fit to and those held back, which lie evenly between them.

    Raises DataError for fewer than two.
    """
    least = 2 if len(images) > LEAST_TO_VARY else 1
    count = min(settings.held_back, max(least, len(images) // 5))
    if len(images) < 2:
        raise DataError(
            f"--data: {len(images)} image; at least 2 are wanted, better {settings.images}: one to "
            "measure on"
        )
    places = np.unique(np.linspace(0, len(images) - 1, count + 2).astype(int)[1:-1])
    held = np.zeros(len(images), bool)
    held[places] = True
    return np.ascontiguousarray(images[~held]), np.ascontiguousarray(images[held])


def _measure(
    subject: Shrinkable,
    fit: np.ndarray,
    judge: Judge,
    settings: ShrinkSettings,
    journal: Journal,
) -> tuple[list[Sensitivity], dict[str, str]]:
    with StepProgress("measure", len(subject.sets), unit="block", brief=True) as progress:

        def advance(number: int, one: Sensitivity | None) -> None:
            if one is not None and one.name not in journal.known:
                journal.note_block(one)
            progress.advance(number)

        known, left = measure_sensitivities(
            subject.graph,
            subject.sets,
            fit,
            judge,
            multiple=settings.multiple,
            least=settings.least,
            most=MOST_MEASURED,
            batch=settings.batch,
            pixels=settings.pixels,
            known=journal.known,
            progress=advance,
        )
    if not known:
        name, why = next(iter(left.items()))
        raise UnsupportedGraphError(f"no channel can go: {name}: {why}")
    if all(float(one.curve[0]) == 0 for one in known):
        raise DataError(
            "--data: no feature of the network changes over the images; wanted images "
            "preprocessed as the network was trained"
        )
    return known, left


def _resolved(budget: Budget, chooser: Chooser, subject: Shrinkable) -> int:
    total = subject.madds if budget.of == "madds" else subject.params
    limit = int(budget.amount * total) if budget.relative else int(budget.amount)
    if limit < chooser.least():
        raise UsageError(
            f"--budget {budget.text}: that is {say(limit, budget.of)} for the whole network; the "
            f"least that can be reached is {say(chooser.least(), budget.of)} "
            f"({chooser.least() / total:.2f}x); ask for more"
        )
    if limit >= total:
        logger.warning(
            "--budget %s: the network costs %s already: nothing has to go",
            budget.text,
            say(total, budget.of),
        )
    return limit


def _in_ms(graph: Graph) -> float:
    """Return the latency of one image in ms; the median of TIMED runs."""
    timed = graph.copy()
    shapes = shapes_at(timed, timed.image_size())
    for tensor in timed.inputs:
        tensor.shape = list(shapes[tensor.name])
    return time_graph(timed, LatencySettings(runs=TIMED))


def _curve(chooser: Chooser, subject: Shrinkable, of: str) -> tuple[tuple[int, float], ...]:
    total = subject.madds if of == "madds" else subject.params
    points = []
    for share in OTHER_BUDGETS:
        choice = chooser.by_program(int(share * total))
        if choice is not None:
            points.append((choice.cost, choice.predicted))
    return tuple(points)


def _make(
    chooser: Chooser,
    limit: int,
    maker: Maker,
    settings: ShrinkSettings,
    journal: Journal,
    goal: LatencyGoal | None,
) -> tuple[list[Choice], Small, Latency | None]:
    """Rank widths and make the best network; anew with fewer MAdds as long as it is too slow."""
    for _ in range(ROUNDS):
        ranked = _search(chooser, limit, maker, settings, journal)
        best = maker.network(ranked[0].widths)
        if goal is None:
            return ranked, best, None
        latency = Latency(goal.before, _in_ms(best.graph), goal.limit)
        limit = goal.tighter(limit, latency.after)
        if latency.after <= goal.limit or limit < chooser.least():
            break
    return ranked, best, latency


def _draw(chooser: Chooser, limit: int, maker: Maker, count: int) -> list[Choice]:
    """Return random choices of the budget's cost with their errors."""
    drawn = []
    for number in range(count):
        choice = chooser.at_random(limit, np.random.default_rng(number))
        if choice is not None:
            drawn.append(dataclasses.replace(choice, measured=maker.error(choice.widths)))
    return drawn


def _tried(subject: Shrinkable, names: list[str], choice: Choice, *, random: bool) -> Tried:
    costs = {of: subject.costs(names, of).of(choice.widths) for of in ("madds", "params")}
    widths = dict(zip(names, choice.widths, strict=True))
    return Tried(widths, **costs, predicted=choice.predicted, error=choice.error, random=random)


def _search(
    chooser: Chooser, limit: int, maker: Maker, settings: ShrinkSettings, journal: Journal
) -> list[Choice]:
    done = 0
    with StepProgress("search", settings.effort, unit="network", brief=True) as progress:

        def measure(widths: tuple[int, ...]) -> float:
            nonlocal done
            if widths not in journal.errors:
                journal.note_network(widths, maker.error(widths))
            done += 1
            progress.advance(done)
            return journal.errors[widths]

        return search_widths(chooser, limit, settings.effort, measure, maker.slopes)


def _finished(
    graph: Graph,
    network: Small,
    choice: Choice,
    known: list[Sensitivity],
) -> Graph:
    """Return the narrowed network with the file's interface and its costs per node."""
    small = network.graph
    small.cleanup()
    small.refresh_shapes()
    with_interface_of(small, graph)
    counted = profile(small)
    for node, cost in zip(small.nodes, counted.nodes, strict=True):
        if "fnac.madds" in node.metadata:
            node.metadata["fnac.madds"] = str(cost.madds)
    small.manifest["shrink"] = {
        "error": network.error,
        "statistics": network.statistics,
        "widths": {one.name: w for one, w in zip(known, choice.widths, strict=True)},
    }
    return small


def _row(madds: Any, known: list[Sensitivity], choice: Choice, place: int) -> Row:
    one, width = known[place], choice.widths[place]
    whole = list(choice.widths)
    whole[place] = one.count
    saved = madds.of(whole) - madds.of(choice.widths)
    return Row(one.name, one.count, width, saved, one.error(width))
