"""Checks before a run is continued: the right run, settings, files and data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.kept_files import KeptFiles
from fnac.adaptation.plan import Plan, changed
from fnac.adaptation.settings import AdaptSettings
from fnac.config import Config, as_plain, converted, read_yaml
from fnac.data.readers.names import PICTURES
from fnac.errors import UsageError
from fnac.search.settings import SearchSettings
from fnac.stages.expand import ExpandSettings
from fnac.stages.heal_settings import HealSettings
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import settings_kind
from fnac.training.settings import NO_MATTER

if TYPE_CHECKING:
    from fnac.data.source import DataSource

CONFIG = "config.yaml"
FINGERPRINT = "fingerprint.json"
"""Digests of a run's data (fnac.data.sets.fingerprint)."""
START_OF = "start_of.json"
"""With which network a single stage began: its name, and its digest."""
KINDS: Mapping[str, type[Any]] = {
    one.section: one
    for one in (AdaptSettings, ExpandSettings, SearchSettings, TuneSettings, HealSettings)
}
"""The settings of the sections that a single stage reads; those of ``task`` depend on the task."""
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


def check_start(folder: Path, now: Mapping[str, str]) -> None:
    """Raise UsageError if the run in ``folder`` began with another network than ``now``."""
    if not (folder / START_OF).exists():
        return
    began = json.loads((folder / START_OF).read_text(encoding="utf-8"))
    if began.get("network", now["network"]) != now["network"]:
        raise UsageError(
            f"--resume: {folder} began with {began['model']}, and {now['model']} is another "
            "network (its weights, nodes or metadata differ); give the one that it began with, or "
            "begin a new run"
        )


def stage_to_resume(out: Path | None, stage: str, given: Config) -> Config:
    """Return the settings of the run of a single stage that is continued.

    They are those that it was begun with. UsageError if ``given`` says something else, in any
    section that the stage reads; what does not change the result may be given anew, and where the
    data set lies.
    """
    folder = latest(out, stage)
    if is_adaptation(folder):
        raise UsageError(
            f"--resume: {folder} is a run of fnac adapt; continue it with fnac adapt --resume -o "
            f"{folder}, or name a run of fnac {stage}"
        )
    stored = read_yaml(folder / CONFIG, of_run=True)
    if stage not in stored:
        raise UsageError(
            f"--resume: {folder} is no run of fnac {stage} (its {CONFIG} has the sections "
            f"{', '.join(stored)}); name another folder with -o"
        )
    said = {name: given.get(name, {}) for name in ("adapt", "task", "expand", "heal", stage)}
    if "heal" in stored:  # then the other settings of ``tune`` are said of the healing
        teacher = {key: value for key, value in said["tune"].items() if key == "teacher"}
        rest = {key: value for key, value in said["tune"].items() if key != "teacher"}
        said |= {"tune": teacher, "heal": {**said["heal"], **rest}}
    for section, values in said.items():
        _check_section(folder, section, stored, values)
    return {name: {**values, **said.get(name, {})} for name, values in stored.items()}


def _check_section(folder: Path, section: str, stored: Config, given: Mapping[str, Any]) -> None:
    """Raise UsageError if ``given`` differs from what the run in ``folder`` was begun with."""
    kind: type[Any] = KINDS.get(section) or settings_kind(str(stored["adapt"]["task"]))
    then, now = stored.get(section, {}), as_plain(converted(kind, given, section))
    unsaid = as_plain({key: getattr(kind, key, None) for key in now})
    for key, value in now.items():
        before = then.get(key, unsaid[key])
        path = f"{section}.{key}"
        if path == "adapt.data" and _without_labels(before) == _without_labels(value):
            continue
        if before == value or key in NO_MATTER or path in (*FREE[1:], "adapt.seed"):
            continue
        raise UsageError(
            f"--resume: {path} is {before!r} in {folder}, {value!r} was given; leave it out, or "
            "begin a new run"
        )


def _without_labels(data: Any) -> bool:
    return str(data).startswith(PICTURES)


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
