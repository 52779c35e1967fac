"""The metric of a file, in onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.history import tell_untuned
from fnac.adaptation.plan import Subject
from fnac.adaptation.settings import EvalSettings, task_of
from fnac.config import Config, read
from fnac.data.preprocessing import state_preprocessing, tell_assumed
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.tasks import make_task

if TYPE_CHECKING:
    from fnac.data.source import DataSource
    from fnac.stages.evaluate import EvalResult

log = logging.getLogger(__name__)


def run_eval(model: Path, config: Config) -> EvalResult:
    """Measure the metric of ``model`` in onnxruntime, with inputs as its file says."""
    from fnac.stages.evaluate import Feeding, evaluate_onnx

    settings, manifest = read(EvalSettings, config), Graph.load(model).manifest
    on = subject_of(model, manifest, config)
    source = in_classes_of(model, manifest, on.source, on.adapt.task, settings)
    state_preprocessing(manifest, settings.mean, settings.std)
    tell_assumed(manifest)
    tell_untuned(model, manifest)
    said, stated = getattr(on.task, "resize", None), Contract.read(manifest).input.resize
    if said is not None and stated not in (None, said):
        log.warning("task.resize %s is followed; the file says %s", said, stated)
    task = make_task(on.adapt.task, source, manifest, on.task)
    task.check_network(manifest)
    return evaluate_onnx(
        model,
        source,
        task,
        settings.split,
        settings.size,
        manifest=manifest,
        feeding=Feeding(settings.batch_size, settings.limit),
    )


def subject_of(model: Path | str, manifest: Mapping[str, Any], config: Config) -> Subject:
    """Read the settings of task and data; UsageError if the file is for another task."""
    on, made_for = Subject.read(config, task_of(manifest)), manifest.get("task")
    if made_for not in (None, on.adapt.task):
        raise UsageError(
            f"{model}: it is for --task {made_for}, as its manifest says; --task {on.adapt.task} "
            "was given; leave --task out, or give a file for that task"
        )
    return on


def in_classes_of(
    model: Path | str,
    manifest: Mapping[str, Any],
    source: DataSource,
    task: str,
    settings: EvalSettings,
) -> DataSource:
    """Return the data set mapped to the network's classes, as far as both name them.

    Raises UsageError where they have other names, and no map says which is which.
    """
    from fnac.data.sets.mapped import MappedSource, read_class_map, same_names

    names = manifest.get("classes") if manifest.get("task") == task else None
    if settings.classes_map is not None:
        if names is None:
            raise UsageError(f"--classes-map: {model} does not say what its classes are called")
        table = read_class_map(settings.classes_map, source.classes, names)
        left = [name for name, new in zip(source.classes, table, strict=True) if new is None]
        if left:
            log.warning("not measured, for the network has no such class: %s", ", ".join(left))
        return MappedSource(source, list(names), table, task)
    if names is not None and not same_names(names, source.classes):
        raise UsageError(
            f"{model} was made for other classes than those of {source.name}; "
            f"the file ({len(names)}): {', '.join(names)}; "
            f"the data set ({len(source.classes)}): {', '.join(source.classes)}; "
            "take the data set that it was made for, or say which is which with --classes-map FILE "
            "(YAML, name in the data set: name in the file)"
        )
    return source
