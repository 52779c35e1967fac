"""One run of a study in its folder: begin it, continue it, or leave it if it is done."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from fnac import flow
from fnac.adaptation.plan import Plan
from fnac.adaptation.resuming import CONFIG, check_as_left, plan_to_resume
from fnac.errors import FnacError, UsageError
from fnac.study.shared import hand_on, shared_stages, take_over
from fnac.study.study_file import StudyRun

log = logging.getLogger(__name__)

RUNS, STORE, ERRORS = "runs", "shared", "errors"
"""Folders of a study."""


def check_begun(run: StudyRun, folder: Path) -> None:
    """Check a run that was begun, or is done, before the study goes on.

    Raises UsageError if the file gives it other settings now, DataError if its data changed.
    """
    out = folder / RUNS / run.folder
    if (out / CONFIG).exists():
        check_as_left(out, plan_to_resume(out, run.config).source)


def run_one(run: StudyRun, folder: Path) -> str | None:
    """Begin or continue one run of a study, unless it is done; return why it failed, or None."""
    out, note = folder / RUNS / run.folder, folder / ERRORS / f"{run.folder}.txt"
    note.unlink(missing_ok=True)
    if (out / "results.json").exists():
        log.info("%s: done before", run.folder)
        return None
    log.info("%s", run.folder)
    plan = Plan.of(run.config)
    stages = shared_stages(plan)
    try:
        if (out / CONFIG).exists():
            flow.resume(run.config, out=out)
        else:
            shutil.rmtree(out, ignore_errors=True)  # it never began
            flow.adapt(plan, out=out, given=take_over(stages, folder / STORE))
    except UsageError:
        raise
    except FnacError as error:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{error}\n", encoding="utf-8")
        log.error("%s: %s", run.folder, error)
        return str(error)
    hand_on(out, stages, folder / STORE)
    return None


def read_results(out: Path) -> dict[str, Any] | None:
    """Return the results of a run folder; None if the run is not done."""
    path = out / "results.json"
    return json.loads(path.read_text()) if path.exists() else None
