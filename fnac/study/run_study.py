"""Run a study: one adaptation at a time, or several in parallel through Ray."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnac.adaptation.plan import Plan
from fnac.errors import TrainingError, UsageError
from fnac.passes.files import write_atomically
from fnac.study.one_run import check_begun, run_one
from fnac.study.shared import shared_stages
from fnac.study.study_file import Study, StudyRun, read_study

log = logging.getLogger(__name__)

COPY = "study.yaml"


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """The result of a study: its folder, and what failed (run -> why)."""

    folder: Path
    failed: dict[str, str]


def run_study(
    file: Path, folder: Path, given: dict[str, dict[str, Any]], *, resume: bool
) -> tuple[Study, StudyResult]:
    """Run the unfinished part of the study in ``file``, in ``folder``.

    given   settings of the command line, for all runs
    resume  continue in a folder that was begun; runs may have been added to the file since

    A run that fails is reported and left out; the others continue. Raises UsageError for a file
    that cannot be understood, a folder that was begun, or a run begun with other settings.
    """
    study = read_study(file, given)
    plans = [Plan.of(run.config) for run in study.runs]  # all are refused before one begins
    if (folder / COPY).exists() and not resume:
        raise UsageError(f"-o {folder}: a study was begun there; continue it with --resume")
    for run in study.runs:
        check_begun(run, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if file.resolve() != (folder / COPY).resolve():
        write_atomically(folder / COPY, file.read_bytes())
    failed: dict[str, str] = {}
    for wave in waves([shared_stages(plan) for plan in plans]):
        runs = [study.runs[place] for place in wave]
        failed.update(_run_all(runs, folder, study.processes))
    return study, StudyResult(folder, failed)


def waves(stages: Sequence[dict[str, str]]) -> list[list[int]]:
    """Return groups of parallel runs: first one run per shared stage, then the others.

    stages  of each run: shared file -> digest of its settings
    """
    seen: set[str] = set()
    first: list[int] = []
    later: list[int] = []
    for place, one in enumerate(stages):
        new = set(one.values()) - seen
        (first if new else later).append(place)
        seen.update(new)
    return [wave for wave in (first, later) if wave]


def _run_all(runs: Sequence[StudyRun], folder: Path, processes: int) -> dict[str, str]:
    """Run some of the study; return why some of them failed."""
    if processes > 1 and importlib.util.find_spec("ray") is not None:
        from fnac.study.on_ray import run_on_ray

        outcomes = run_on_ray(runs, folder, processes)
    else:
        if processes > 1:
            log.warning(
                "processes: %d: Ray is not installed (pip install -e '.[ray]' in the clone of "
                "fnac); the runs go one at a time", processes,
            )  # fmt: skip
        outcomes = [run_one(run, folder) for run in runs]
    return {run.folder: why for run, why in zip(runs, outcomes, strict=True) if why is not None}


def check_complete(result: StudyResult) -> None:
    """Raise TrainingError if runs failed."""
    if result.failed:
        name, why = next(iter(result.failed.items()))
        raise TrainingError(
            f"{len(result.failed)} of the study's runs failed, {name}: {why}; fix it and continue "
            "with --resume"
        )
