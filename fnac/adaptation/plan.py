"""The plan of an adaptation: every stage's settings, typed, with the task and the data set.

``Plan.of`` reads a configuration once. It settles what several sections have a say in (the seed,
the classes, how a detector answers, whether passes are proven); no stage does that again. A run's
``config.yaml`` is its plan written down, and reads back as an equal one.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.settings import (
    NARROWS_TUNED_SEED,
    SEARCHES,
    AdaptSettings,
    EvalSettings,
    open_source,
)
from fnac.architectures.budget import check_lambda
from fnac.config import VERSION, Config, as_plain, merge, read
from fnac.errors import UsageError
from fnac.passes.emit.detector_answers import DetectorAnswers
from fnac.passes.files import model_file
from fnac.passes.graph import Graph
from fnac.ranks import is_first_rank
from fnac.search.settings import SearchSettings
from fnac.stages.derive import DeriveSettings
from fnac.stages.emit import EmitSettings
from fnac.stages.expand import ExpandSettings
from fnac.stages.exporting.settings import ExportSettings, is_model_file
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import make_task, settings_kind
from fnac.tasks.settings import TaskSettings

if TYPE_CHECKING:
    from fnac.architectures.budget import Budget
    from fnac.data.account import DataAccount
    from fnac.data.source import DataSource
    from fnac.tasks.base import Task

ANSWERS = tuple(field.name for field in dataclasses.fields(DetectorAnswers))
BUNDLED = "bundled"
"""The seed of a run that names none."""


class OpenedOnce:
    """The data set that settings name, opened on first use."""

    def __init__(self, settings: AdaptSettings) -> None:
        self.settings = settings

    @functools.cached_property
    def source(self) -> DataSource:
        """Open the data set; raises what its reader raises."""
        return open_source(self.settings)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a stage works on: the section ``adapt``, the task's settings, the data set."""

    adapt: AdaptSettings
    task: TaskSettings
    data: OpenedOnce = dataclasses.field(compare=False, repr=False)

    @classmethod
    def read(cls, config: Config, task: str = "seg") -> Subject:
        """Read the sections ``adapt`` and ``task``; ``task`` holds where they name none."""
        return cls(*_subject(config, task))

    @property
    def source(self) -> DataSource:
        """The data set, opened once."""
        return self.data.source

    @property
    def budget(self) -> Budget | None:
        """The budget of the whole network; None: there is none."""
        return self.adapt.parsed_budget()

    def task_for(self, manifest: Mapping[str, Any]) -> Task:
        """Return the task on the data set, for the network of a manifest (its anchors count)."""
        return make_task(self.adapt.task, self.source, manifest, self.task)


@dataclasses.dataclass(frozen=True)
class Plan(Subject):
    """Everything that determines a run; ``Plan.of`` builds it, ``written`` serialises it."""

    export: ExportSettings
    expand: ExpandSettings
    search: SearchSettings
    derive: DeriveSettings
    tune: TuneSettings
    emit: EmitSettings
    eval: EvalSettings
    shrink: ShrinkSettings

    @classmethod
    def of(cls, config: Config) -> Plan:
        """Read a configuration, so that mistakes show before anything runs.

        Without a seed it is the bundled one; without classes they are the data set's, which is
        opened for that. Raises UsageError for settings that contradict each other.
        """
        unknown = [section for section in config if section not in SECTIONS]
        if unknown:
            raise UsageError(
                f"{unknown[0]}: adapt has no such section; it has: {', '.join(SECTIONS)}"
            )
        config = _with_seed(_with_answers(config))
        adapt, task, data = _subject(config)
        expand = config.get("expand", {})
        if adapt.strategy == "evolve":  # its paths are drawn uniformly to the end
            config = merge(config, {"search": {"train_alphas": False}})
        plan = cls(
            adapt=adapt,
            task=task,
            data=data,
            export=read(ExportSettings, config),
            expand=read(ExpandSettings, {"expand": {**expand, "task": adapt.task}}),
            search=read(SearchSettings, config),
            derive=read(DeriveSettings, config),
            tune=read(TuneSettings, config),
            emit=read(EmitSettings, config),
            eval=read(EvalSettings, config),
            shrink=read(ShrinkSettings, config),
        )
        plan = plan.unproven() if adapt.no_verify else plan
        check_lambda(plan.budget, plan.search.lambda_)
        if getattr(task, "flip_test", False) and not plan.emit.no_postprocess:
            raise UsageError(
                "task.flip_test: it averages heatmaps, and the emitted file would output "
                "keypoints; add --set emit.no_postprocess=true, or leave flip_test to a later "
                "fnac eval"
            )
        plan._check_sizes()
        if plan.adapt.strategy in NARROWS_TUNED_SEED and plan.derive.weights != "super":
            raise UsageError(
                f"--remap-target: --strategy {plan.adapt.strategy} has no super network, and its "
                "target keeps the tuned seed's weights; take --strategy diff, random, evolve or "
                "seed"
            )
        return (plan if plan.expand.classes else plan.with_classes_of_data())._sized()

    def _check_sizes(self) -> None:
        """Refuse settings that contradict a choice between input sizes."""
        if self.adapt.sizes is None and not self.adapt.output_strides:
            return
        option = "--output-strides" if self.adapt.sizes is None else "--sizes"
        if getattr(self.task, "resize", None) == "sides":
            raise UsageError(
                f"{option}: with task.resize=sides every image has a size of its own; leave one out"
            )
        if self.tune.size not in (None, self.expand.size):
            raise UsageError(
                f"{option}, tune.size: networks are tuned at their own sizes; leave tune.size out, "
                "and set the seed's with --size"
            )
        if self.derive.weights != "super":
            raise UsageError(
                f"{option}, --remap-target: weights come from the network of each size; leave one "
                "out"
            )
        if self.eval.size is not None:
            raise UsageError(
                f"{option}, eval.size: networks are measured at their own sizes; leave one out"
            )
        if self.tune.teacher == "baseline" and self.adapt.sizes is not None:
            raise UsageError(
                "--sizes, --teacher baseline: the baseline reads images of its own size only; "
                "leave one out"
            )

    def with_classes_of_data(self) -> Plan:
        """Return the plan with a head for the data set's classes; opens the data set for it."""
        count = len(self.source.classes)
        return dataclasses.replace(self, expand=dataclasses.replace(self.expand, classes=count))

    def _sized(self) -> Plan:
        """Return the plan with a size of its data, where neither it nor the seed's file has one."""
        seed = Path(self.export.seed)
        if self.expand.size is not None or not seed.is_file() or Graph.load(seed).image_size():
            return self
        from fnac.data.batches import size_of_data

        size = self.search.size or size_of_data(self.source.split("train"), self.adapt.task)
        return dataclasses.replace(self, expand=dataclasses.replace(self.expand, size=size))

    def unproven(self) -> Plan:
        """Return the plan without a proof after every pass."""
        return dataclasses.replace(
            self,
            derive=dataclasses.replace(self.derive, verify=False),
            emit=dataclasses.replace(self.emit, no_verify=True),
            shrink=dataclasses.replace(self.shrink, no_verify=True),
        )

    def written(self) -> dict[str, Any]:
        """Return what ``config.yaml`` holds: the version of the layout, then the sections."""
        sections = {section: as_plain(getattr(self, section)) for section in SECTIONS}
        return {"version": VERSION, **sections}

    def check_inputs(self) -> DataAccount | None:
        """Check the seed's file and every file of the data, before a folder is claimed.

        Returns what the data hold (None on all processes but the first). Raises
        UnsupportedGraphError, or DataError for a broken file, a split that is missing, and data
        that nothing can be trained on.
        """
        self.check_device()
        seed = self.export.seed
        if is_model_file(seed):
            Graph.load(seed).check_finite()
        return self.check_data() if is_first_rank() else None

    def unfilled_batches(self) -> list[str]:
        """Say which part of the training set does not fill one batch of the stage it is for."""
        from fnac.data.loader import split

        train = self.source.split("train")
        parts = [("tune: the training set", len(train), self.tune.batch_size)]
        if self.adapt.strategy in SEARCHES:
            weights, alphas = split(train, self.search.split, self.search.random_seed)
            parts = [
                ("search: the weights' part", len(weights), self.search.batch_size),
                ("search: the alphas' part", len(alphas), self.search.batch_size),
                *parts,
            ]
        return [
            f"{what} has {count} samples, which do not fill one batch of {batch}"
            for what, count, batch in parts
            if count < batch
        ]

    def check_batches(self) -> None:
        """Raise UsageError if a stage has less than a batch of samples."""
        for problem in self.unfilled_batches():
            raise UsageError(f"{problem}; add data, or choose a smaller batch (--batch)")

    def check_device(self) -> None:
        """Raise UsageError if search or tuning is set to a device that does not exist."""
        from fnac.training.runtime import check_device

        for settings in (self.search, self.tune):
            check_device(settings)

    def check_data(self) -> DataAccount:
        """Check every file and label, print a summary, refuse what cannot be used."""
        from fnac.data.account import checked_account

        given, names = self.expand.classes, self.source.classes
        if given != len(names):
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise UsageError(
                f"--classes {given}: the data set has {len(names)} ({shown}); leave --classes out"
            )
        return checked_account(self.source, self.adapt.task, self.eval.split)


SECTIONS = (
    *("adapt", "task", "export", "expand", "search"),
    *("derive", "tune", "emit", "eval", "shrink"),
)
"""The sections of a plan, in the order in which they are written."""
SHARED = (("adapt", "export", ("seed",)), ("task", "emit", ANSWERS))
"""Two sections, and the settings of which both have one account."""


def _subject(config: Config, task: str = "seg") -> tuple[AdaptSettings, TaskSettings, OpenedOnce]:
    adapt = read(AdaptSettings, {"adapt": {"task": task, **config.get("adapt", {})}})
    return adapt, read(settings_kind(adapt.task), config), OpenedOnce(adapt)


def _with_seed(config: Config) -> Config:
    """Return the settings with one seed, the same in ``adapt.seed`` and ``export.seed``.

    What is adapted goes before what an export would be of; where neither says it, it is the
    bundled seed.
    """
    adapt, export = config.get("adapt", {}), config.get("export", {})
    seed = os.path.expanduser(str(adapt.get("seed") or export.get("seed") or BUNDLED))
    if is_model_file(seed):
        seed = str(model_file(Path(seed)))
    return {**config, "adapt": {**adapt, "seed": seed}, "export": {**export, "seed": seed}}


def _with_answers(config: Config) -> Config:
    """Return the settings with one set of detector answers, in torch and in the file.

    What section ``task`` or ``emit`` says of overlap, score and counts holds for both, so that the
    metrics of the network and of the emitted file are of the same boxes. Raises UsageError where
    they differ.
    """
    task, emit = dict(config.get("task", {})), dict(config.get("emit", {}))
    for key in ANSWERS:
        if key not in task and key not in emit:
            continue
        value = task.setdefault(key, emit.get(key))
        if emit.setdefault(key, value) != value:
            raise UsageError(
                f"emit.{key} {emit[key]}: task.{key} is {value}; set one of them, or both alike"
            )
    if config.get("adapt", {}).get("task") != "det":
        return config
    return {**config, "task": task, "emit": emit}


def changed(plan: Plan, given: Mapping[str, Mapping[str, Any]]) -> tuple[Plan, list[str]]:
    """Return the plan with ``given`` settings applied, and the keys that changed."""
    stored = plan.written()
    merged = {s: {**stored.get(s, {}), **given.get(s, {})} for s in (*SECTIONS, *given)}
    for one, other, keys in SHARED:  # what is said once holds for both
        for key in keys:
            for here, there in ((one, other), (other, one)):
                if key in given.get(here, {}) and key not in given.get(there, {}):
                    merged[there][key] = merged[here][key]
    asked = Plan.of(merged)
    now = asked.written()
    return asked, [
        f"{section}.{key}"
        for section, values in given.items()
        for key in values
        if now[section][key] != stored[section][key]
    ]
