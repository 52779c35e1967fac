"""Checks before a run is continued: the right run, settings, files and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.plan import Plan, changed
from fnac.config import Config, as_plain, read_yaml
from fnac.errors import UsageError
from fnac.training.settings import NO_MATTER

if TYPE_CHECKING:
    from fnac.data.source import DataSource

CONFIG = "config.yaml"
FINGERPRINT = "fingerprint.json"
"""Digests of a run's data (fnac.data.sets.fingerprint)."""
FREE = ("adapt.data", "adapt.no_verify", "derive.verify", "emit.no_verify")
"""Settings that a resumed run may be given anew, beside ``NO_MATTER``."""


def latest(out: Path | None, name: str) -> Path:
    """Return the folder that ``--resume`` continues: ``out``, or the newest ``runs/name*``.

    Where no name is given, it is the newest run of ``fnac adapt``.

    Raises UsageError if there is none.
    """
    if out is not None:
        if not (out / CONFIG).is_file():
            raise UsageError(f"--resume: {out} holds no config.yaml; name the folder of a run")
        return out
    runs = [p.parent for p in Path("runs").glob(f"{name}*/{CONFIG}")]
    if not name:
        runs = [folder for folder in runs if is_adaptation(folder)]
    if not runs:
        raise UsageError(f"--resume: there is no runs/{name}*; name the run folder with -o")
    return max(runs, key=lambda folder: (folder / CONFIG).stat().st_mtime_ns)


def is_adaptation(folder: Path) -> bool:
    """Say whether a run folder is one of ``fnac adapt``, and not of a single stage."""
    lines = (folder / CONFIG).read_text(encoding="utf-8").splitlines()
    return {"export:", "derive:", "eval:"} <= set(lines)


def read_plan(folder: Path) -> Plan:
    """Return the plan that a run was begun with; UsageError for one of another version."""
    return Plan.of(read_yaml(folder / CONFIG, of_run=True))


def check_as_left(folder: Path, source: DataSource) -> None:
    """Check a run's files and data set before it is continued.

    Raises TrainingError for a file that is not as the run left it, DataError for changed data.
    """
    from fnac.data.sets.fingerprint import check_same_data

    KeptFiles(folder).check()
    check_same_data(source, json.loads((folder / FINGERPRINT).read_text()))


def plan_to_resume(folder: Path, given: Config) -> Plan:
    """Return the plan of a run that is continued; UsageError if ``given`` says something else.

    What does not change the result may be given anew, and where the data set lies: whether it is
    the same one is checked on its own.
    """
    plan = read_plan(folder)
    task, said = plan.adapt.task, given.get("adapt", {}).get("task")
    if said not in (None, task):
        raise UsageError(
            f"--resume: the task of {folder} is {task}, {said} was given; leave it out, or begin "
            "a new run"
        )
    asked, differing = changed(plan, given)
    for path in differing:
        section, _, key = path.partition(".")
        if key in NO_MATTER or path in FREE:
            continue
        then, now = (getattr(getattr(one, section), key) for one in (plan, asked))
        raise UsageError(
            f"--resume: {path} is {as_plain(then)!r} in {folder}, {as_plain(now)!r} was given; "
            "leave it out, or begin a new run"
        )
    return asked
