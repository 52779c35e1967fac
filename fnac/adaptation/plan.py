"""Settings of a whole adaptation, checked before anything runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.settings import AdaptSettings, EvalSettings, adapt_settings, open_source
from fnac.config import Config, as_plain, build
from fnac.errors import DataError, UsageError
from fnac.passes.graph import Graph
from fnac.ranks import is_first_rank

if TYPE_CHECKING:
    from fnac.data.source import DataSource


DETECTOR_ANSWERS = {"iou", "score", "candidates", "detections"}
"""Settings that the torch side (section task) and the emitted file (section emit) share."""


def with_answers(config: Config) -> Config:
    """Return the settings with one account of how a detector answers, in torch and in the file.

    What section ``task`` or ``emit`` says of overlap, score and counts holds for both, so that the
    metrics of the network and of the emitted file are of the same boxes. Raises UsageError where
    they differ.
    """
    task, emit = dict(config.get("task", {})), dict(config.get("emit", {}))
    for key in DETECTOR_ANSWERS & (task.keys() | emit.keys()):
        value = task.setdefault(key, emit.get(key))
        if emit.setdefault(key, value) != value:
            raise UsageError(
                f"emit.{key} {emit[key]:g}: task.{key} is {value:g}; set one of them, or both alike"
            )
    if config.get("adapt", {}).get("task") != "det":
        return config
    return {**config, "task": task, "emit": emit}


def resolve(config: Config) -> dict[str, dict[str, Any]]:
    """Build every stage's settings, so that a slip shows before anything runs, and return them.

    The classes of the head come from the data set where nothing says them.
    """
    from fnac.architectures.budget import check_lambda
    from fnac.search.settings import SearchSettings
    from fnac.stages.derive import DeriveSettings
    from fnac.stages.emit import EmitSettings
    from fnac.stages.expand import ExpandSettings
    from fnac.stages.exporting.settings import ExportSettings
    from fnac.stages.tune_settings import TuneSettings
    from fnac.tasks import settings_kind

    kinds: dict[str, type[Any]] = {
        "adapt": AdaptSettings,
        "export": ExportSettings,
        "expand": ExpandSettings,
        "search": SearchSettings,
        "derive": DeriveSettings,
        "tune": TuneSettings,
        "emit": EmitSettings,
        "eval": EvalSettings,
    }
    unknown = [section for section in config if section not in (*kinds, "task")]
    if unknown:
        known = ", ".join((*kinds, "task"))
        raise UsageError(f"{unknown[0]}: adapt has no such section; it has: {known}")
    config = with_answers(config)
    settings = adapt_settings(config, "seg")
    check_lambda(settings.parsed_budget(), config.get("search", {}).get("lambda_"))
    sections = {section: dict(config.get(section, {})) for section in kinds}
    sections["expand"]["task"] = settings.task
    if sections["expand"].get("classes") is None:
        sections["expand"]["classes"] = len(open_source(settings).classes)
    resolved = {
        section: dataclasses.asdict(build(kind, sections[section], section))
        for section, kind in kinds.items()
    }
    resolved["task"] = dataclasses.asdict(
        build(settings_kind(settings.task), config.get("task", {}), "task")
    )
    if resolved["task"].get("flip_test") and not resolved["emit"]["no_postprocess"]:
        raise UsageError(
            "task.flip_test: it averages heatmaps, and the emitted file would put out keypoints; "
            "add --set emit.no_postprocess=true, or leave flip_test to a later fnac eval"
        )
    return resolved


def _check_inputs(resolved: Config) -> None:
    """Look at the seed's file and at every file of the data before a folder is claimed."""
    given = resolved["adapt"]["seed"]
    if given and _is_file(given):
        Graph.load(given).check_finite()
    if is_first_rank():
        check_data(open_source(build(AdaptSettings, resolved["adapt"], "adapt")), resolved)


def check_data(source: DataSource, resolved: Config) -> None:
    """Look at every file, and that what is trained and measured on is there.

    Raises DataError for a broken file or a split that is missing or empty.
    """
    source.check()
    for split in ("train", str(resolved["eval"]["split"])):
        if not len(source.split(split)):
            raise DataError(f"{source.name}: split '{split}' is empty; it is needed; add samples")


def _refuse_changes(stored: Config, given: Config, folder: Path) -> None:
    """Raise UsageError if ``given`` says something else than the run was begun with."""
    merged = {s: {**stored.get(s, {}), **given.get(s, {})} for s in {**stored, **given}}
    begun, said = stored["adapt"]["task"], given.get("adapt", {}).get("task")
    if said not in (None, begun):
        raise UsageError(
            f"--resume: the task of {folder} is {begun}, {said} was given; leave it out, or begin "
            "a new run"
        )
    now, then = as_plain(resolve(merged)), as_plain(resolve(stored))
    for section, values in given.items():
        for key in values:
            if now[section][key] != then[section][key]:
                raise UsageError(
                    f"--resume: {section}.{key} is {then[section][key]!r} in {folder}, "
                    f"{now[section][key]!r} was given; leave it out, or begin a new run"
                )


def _is_file(seed: str) -> bool:
    return Path(seed).suffix == ".onnx" or Path(seed).is_file()
