"""``shrink``: make a network cheaper without labels and without training, in this order.

open the file, measure what each width does to the answers, choose widths for the budget, narrow the
network in sequence with fitted weights, match its statistics, write it with its interface.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnac.architectures.budget import Budget, say
from fnac.errors import DataError, UnsupportedGraphError, UsageError
from fnac.findings import Finding
from fnac.passes.blocks.hidden_channels import HiddenChannels
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.shrink.answers import Judge, Verdict
from fnac.passes.shrink.original import Original
from fnac.passes.shrink.sensitivity import Probing, Sensitivity, measure_sensitivities
from fnac.progress import StepProgress
from fnac.stages.opening.calibration import unlike_training
from fnac.stages.shrinking.choice import Choice, Chooser, distinct, search_widths
from fnac.stages.shrinking.journal import Journal
from fnac.stages.shrinking.maker import MOST_MEASURED, Maker, Small
from fnac.stages.shrinking.milliseconds import ROUNDS, LatencyGoal, Timer, in_ms
from fnac.stages.shrinking.result import Latency, Row, ShrinkResult, Tried
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.shrinking.shrinkable import (
    Shrinkable,
    check_images,
    open_shrinkable,
    with_interface_of,
)

logger = logging.getLogger(__name__)

LEAST_TO_VARY = 3  # images; with more of them two are held back
OTHER_BUDGETS = (0.9, 0.75, 0.6, 0.5, 0.4)


def shrink(
    graph: Graph,
    images: np.ndarray,
    budget: Budget,
    settings: ShrinkSettings | None = None,
    *,
    only_curve: bool = False,
    journal: Journal | None = None,
) -> ShrinkResult:
    """Return a cheaper network with outputs like those of ``graph``, which is not changed.

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
    timer: Timer = in_ms,
) -> list[ShrinkResult]:
    """Return up to ``count`` different networks within the budget, see :func:`shrink`.

    They come in the order of their errors, the best first; one for a budget in milliseconds.

    compared  choices of the same cost that are drawn at random and made whole to compare with
    timer     what a budget in milliseconds is measured with
    """
    started = time.perf_counter()
    settings = settings or ShrinkSettings()
    journal = journal or Journal(None, "")
    check_images(images)
    fit, held = split_images(images, settings)
    subject = open_shrinkable(
        graph,
        heads=settings.heads,
        between=settings.between,
        manager=PassManager(verify=not settings.no_verify),
    )
    findings = list(filter(None, [unlike_training(subject.graph, fit)]))
    judge = _judge(subject, held, len(images), settings)
    original = Original(subject.graph, fit, batch=settings.batch, keep=True)
    known, left = _measure(original, subject.sets, judge, settings, journal)
    unit = "madds" if budget.of == "latency" else budget.of
    chooser = Chooser(known, subject.costs([one.name for one in known], unit))
    goal = LatencyGoal.of(budget, subject.graph, timer) if budget.of == "latency" else None
    if goal is None:
        limit = _resolved(budget, chooser, subject, settings)
    else:
        limit = goal.madds(chooser, subject.graph, subject.madds)
    tried: tuple[Tried, ...] = ()
    latency = None
    if only_curve:
        predicted = chooser.by_program(limit)
        assert predicted is not None  # the budget is within reach
        networks = [(predicted, graph, predicted.predicted)]
    else:
        maker = Maker(original, judge, known, settings)
        ranked, latency = _rank(chooser, limit, maker, settings, journal, goal)
        tried = _tried(subject, chooser, ranked, _draw(chooser, limit, maker, compared))
        networks = [
            (choice, _finished(graph, small, choice, known), small.error)
            for choice in distinct(ranked, 1 if goal else count)
            for small in [maker.network(choice.widths)]
        ]
    if latency is not None and latency.after > latency.budget:
        findings.append(_too_slow(budget, latency))
    for finding in findings:
        logger.warning("%s", finding)
    madds = subject.costs([one.name for one in known], "madds")
    return [
        ShrinkResult(
            graph=small,
            before={"madds": subject.madds, "params": subject.params},
            after={"madds": counted.madds, "params": counted.params},
            budget=limit,
            unit=unit,
            latency=latency,
            error=error,
            rows=tuple(_row(madds, known, choice, i) for i in range(len(known))),
            curve=_curve(chooser, subject, unit),
            left={**subject.left, **left},
            findings=tuple(findings),
            measured_on=judge.said,
            seconds=time.perf_counter() - started,
            tried=tried,
        )
        for choice, small, error in networks
        for counted in [profile(small)]
    ]


def _judge(subject: Shrinkable, held: np.ndarray, given: int, settings: ShrinkSettings) -> Judge:
    judge = Judge(subject.graph, held, batch=settings.batch)
    if judge.single:
        raise DataError(
            f"--data: {given} images, {len(held)} of them held out: a network with one row of "
            f"numbers per image ({judge.said}) is measured by how they vary; give at least "
            f"{LEAST_TO_VARY + 1} images, 2 of them held out (shrink.held_back)"
        )
    return judge


def _too_slow(budget: Budget, latency: Latency) -> Finding:
    return Finding(
        "latency-above-budget",
        f"--budget {budget.text}: {latency.after:.2f} ms were measured, {latency.budget:.2f} ms "
        "asked for; ask for less, or run it where nothing else runs",
    )


def split_images(images: np.ndarray, settings: ShrinkSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the images to fit to and the held-out ones, spread evenly among them.

    Raises DataError for fewer than two.
    """
    least = 2 if len(images) > LEAST_TO_VARY else 1
    count = min(settings.held_back, max(least, len(images) // 5))
    if len(images) < 2:
        raise DataError(
            f"--data: found {len(images)} image; wanted at least 2, one of them to measure on, "
            f"better {settings.images}"
        )
    places = np.unique(np.linspace(0, len(images) - 1, count + 2).astype(int)[1:-1])
    held = np.zeros(len(images), bool)
    held[places] = True
    return np.ascontiguousarray(images[~held]), np.ascontiguousarray(images[held])


def _measure(
    original: Original,
    sets: Sequence[HiddenChannels],
    judge: Judge,
    settings: ShrinkSettings,
    journal: Journal,
) -> tuple[list[Sensitivity], dict[str, str]]:
    with StepProgress("measure", len(sets), unit="block", brief=True) as progress:

        def advance(number: int, one: Sensitivity | None) -> None:
            if one is not None and one.name not in journal.known:
                journal.note_block(one)
            progress.advance(number)

        known, left = measure_sensitivities(
            original,
            sets,
            judge,
            Probing(settings.multiple, settings.least, MOST_MEASURED, settings.pixels),
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


def _resolved(
    budget: Budget, chooser: Chooser, subject: Shrinkable, settings: ShrinkSettings
) -> int:
    total = subject.madds if budget.of == "madds" else subject.params
    limit = int(budget.amount * total) if budget.relative else int(budget.amount)
    if limit < chooser.least():
        raise UsageError(
            f"--budget {budget.text}: that is {say(limit, budget.of)} for the whole network; the "
            f"least that can be reached is {say(chooser.least(), budget.of)} "
            f"({chooser.least() / total:.3f}x); ask for more, or let blocks keep less than "
            f"{settings.least:g} of their channels: --set shrink.least={settings.least / 2:g}"
        )
    if limit >= total:
        logger.warning(
            "--budget %s: the network costs %s already: nothing has to go",
            budget.text,
            say(total, budget.of),
        )
    return limit


def _curve(chooser: Chooser, subject: Shrinkable, of: str) -> tuple[tuple[int, float], ...]:
    total = subject.madds if of == "madds" else subject.params
    points = []
    for share in OTHER_BUDGETS:
        choice = chooser.by_program(int(share * total))
        if choice is not None:
            points.append((choice.cost, choice.predicted))
    return tuple(points)


def _rank(
    chooser: Chooser,
    limit: int,
    maker: Maker,
    settings: ShrinkSettings,
    journal: Journal,
    goal: LatencyGoal | None,
) -> tuple[list[Choice], Latency | None]:
    """Rank widths, best first; repeat with fewer MAdds while the best is too slow."""
    for _ in range(ROUNDS):
        ranked = _search(chooser, limit, maker, settings, journal)
        if goal is None:
            return ranked, None
        took = goal.timer(maker.network(ranked[0].widths).graph)
        latency = Latency(goal.before, took, goal.limit)
        limit = goal.tighter(limit, took)
        if took <= goal.limit or limit < chooser.least():
            break
    return ranked, latency


def _draw(chooser: Chooser, limit: int, maker: Maker, count: int) -> list[Choice]:
    """Return random choices at the budget's cost with their errors."""
    drawn = []
    for number in range(count):
        choice = chooser.at_random(limit, np.random.default_rng(number))
        if choice is not None:
            drawn.append(dataclasses.replace(choice, measured=maker.verdict(choice.widths).error))
    return drawn


def _tried(
    subject: Shrinkable, chooser: Chooser, ranked: list[Choice], drawn: list[Choice]
) -> tuple[Tried, ...]:
    """Return all choices that were built as whole networks, with their costs."""
    names = [one.name for one in chooser.known]
    costs = {of: subject.costs(names, of) for of in ("madds", "params")}
    return tuple(
        Tried(
            dict(zip(names, choice.widths, strict=True)),
            **{of: cost.of(choice.widths) for of, cost in costs.items()},
            predicted=choice.predicted,
            error=choice.error,
            random=random,
        )
        for choices, random in ((ranked, False), (drawn, True))
        for choice in choices
        if choice.measured is not None
    )


def _search(
    chooser: Chooser, limit: int, maker: Maker, settings: ShrinkSettings, journal: Journal
) -> list[Choice]:
    done = 0
    with StepProgress("search", settings.effort, unit="network", brief=True) as progress:

        def measure(widths: tuple[int, ...]) -> Verdict:
            nonlocal done
            if widths not in journal.verdicts:
                journal.note_network(widths, maker.verdict(widths))
            done += 1
            progress.advance(done)
            return journal.verdicts[widths]

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
