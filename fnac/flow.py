"""THE ORDER: what `fnac adapt` runs, one function a stage, each on files in the run folder.

    seed.onnx -> expand -> super.onnx -> search -> super.onnx (trained) -> derive -> target.onnx
    -> tune -> target.onnx (tuned) -> emit -> model.onnx -> eval -> results.json -> report.html

A stage is done when its file says so (the manifest names what was done to it), so a run that was
killed anywhere goes on from there; inside search and tune it goes on from the last checkpoint.
In a distributed run all processes search and tune; the first one does the rest.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.adapt_run import AdaptRun
from fnac.adaptation.folder import claim_for_all, describe, kept_if_trained
from fnac.adaptation.plan import _check_inputs, _refuse_changes, resolve
from fnac.adaptation.result import AdaptResult
from fnac.config import Config, read_yaml

if TYPE_CHECKING:
    pass


log = logging.getLogger(__name__)


def adapt(
    config: Config,
    *,
    given: Config | None = None,
    out: Path | None = None,
    resume: bool = False,
    verify: bool = True,
) -> AdaptResult | None:
    """Run every stage that is not done yet; None on all processes but the first.

    given  what the user set in so many words; a resumed run must not contradict it

    Raises UsageError for contradictions and impossible budgets before anything is trained; a run
    that fails before its first checkpoint leaves no folder.
    """
    resolved = resolve(config)
    name = str(resolved["adapt"]["task"])
    if not resume:
        _check_inputs(resolved)
    folder, ranks = claim_for_all(out, name, resume, resolved["search"]["device"])
    if resume:
        config = read_yaml(folder / "config.yaml")
        _refuse_changes(config, given or {}, folder)
    run = AdaptRun(folder, config, verify, ranks, resume)
    with kept_if_trained(folder, new=ranks.first and not resume):
        if ranks.first:
            log.info("run folder: %s", folder)
            if not resume:
                describe(folder, resolved)
            run.seed()
            run.expand()
        ranks.wait()
        run.search()
    if ranks.first:
        run.derive()
    ranks.wait()
    run.tune()
    if not ranks.first:
        ranks.wait()
        return None
    run.emit()
    result = run.evaluate()
    run.report()
    ranks.wait()
    return result
