"""THE ORDER: what `fnac adapt` runs, one function per stage, each on files in the run folder.

    seed.onnx -> the seed with its head, baseline.onnx
    -> the strategy chooses (measured: tune, shrink; diff: expand, search, derive) -> target.onnx
    -> tune both -> target.onnx, baseline.onnx (tuned) -> emit -> model.onnx
    -> eval -> results.json -> report.html

A stage is done when its file says so (the manifest names what was done to it), so a run that was
killed anywhere goes on from there; inside search and tune it goes on from the last checkpoint.
In a distributed run all processes search and tune; the first one does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fnac.adaptation.adapt_run import AdaptRun
from fnac.adaptation.folder import begun, continued, describe
from fnac.adaptation.plan import Plan
from fnac.adaptation.result import AdaptResult
from fnac.adaptation.resuming import check_as_left, latest, plan_to_resume
from fnac.adaptation.strategies import strategy_for
from fnac.config import Config

log = logging.getLogger(__name__)


def adapt(
    plan: Plan, *, out: Path | None = None, given: Mapping[str, Path] | None = None
) -> AdaptResult | None:
    """Adapt in a new run folder; None on all processes but the first.

    given  finished stages that other runs of a study have in common with this one, by file name

    Raises UsageError for contradictions and impossible budgets before anything is trained; a run
    that fails before its first checkpoint leaves no folder.
    """
    account = plan.check_inputs()
    plan.check_batches()
    with begun(out, plan.adapt.task, plan.search.device) as (folder, ranks):
        if ranks.first:
            describe(folder, plan.written(), plan.source, account)
        run = AdaptRun(plan, folder, ranks)
        if ranks.first and given is not None:
            run.keep_given(given)
        return _run(run)


def resume(given: Config, *, out: Path | None = None) -> AdaptResult | None:
    """Continue the run in ``out`` (default: the newest) with the plan it was begun with.

    given  what the user says now; UsageError where the run was begun with something else
    """
    folder = latest(out, given.get("adapt", {}).get("task") or "")
    plan = plan_to_resume(folder, given)
    with continued(folder, plan.search.device) as ranks:
        if ranks.first:
            check_as_left(folder, plan.source)
        return _run(AdaptRun(plan, folder, ranks))


def _run(run: AdaptRun) -> AdaptResult | None:
    """Run every stage that is not done yet."""
    first, wait = run.ranks.first, run.ranks.wait
    strategy = strategy_for(run)
    if first:
        log.info("run folder: %s", run.folder)
        with run.timed("prepare"):
            run.seed()
            strategy.prepare()
    wait()
    with run.timed("choose"):
        strategy.choose()
    tuning = strategy.tuning(run.plan.tune)
    with run.timed("baseline"):
        run.tune_baseline(tuning)
    with run.timed("tune"):
        run.tune(strategy.tuning_of_target(tuning))
    if not first:
        wait()
        return None
    with run.timed("emit"):
        run.emit()
    with run.timed("eval"):
        result = run.evaluate()
    run.report()
    wait()
    return result
