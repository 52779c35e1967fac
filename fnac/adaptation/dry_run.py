"""``fnac adapt --dry-run``: check the data, the plan and the costs; take some steps of each kind.

Nothing is kept. Steps are taken on two images, on a CPU at a smaller size, because a step of a
large recipe there takes minutes and tens of gigabytes; again on whole batches if they are short.
From the time that they took the whole run's is estimated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fnac.adaptation.adapt_run import AdaptRun
from fnac.adaptation.estimate import STEPS, Estimate, StepClock, Timed, estimate
from fnac.adaptation.plan import Plan
from fnac.data.loader import Subset
from fnac.data.source import Dataset, DataSource
from fnac.errors import UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import Choose
from fnac.ranks import Ranks
from fnac.search.settings import SearchSettings
from fnac.stages.tune_settings import TuneSettings

STEP_PICTURES = 2  # at most: the BN of a pooled branch needs more than one value per channel
CPU_SIDE = 320  # pixels of the longer side in a CPU's steps
SHORT_S = 10.0  # seconds that steps on whole batches may take


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What a dry run found out; see ``as_text``.

    budget  as it was ``asked`` for, its ``value`` (None: there is none), and what the ``seed``, the
            ``least`` and the ``most`` of the search space cost in the same ``unit``
    """

    task: str
    data: dict[str, int]
    seed: dict[str, int]
    space: dict[str, int]
    budget: dict[str, Any]
    plan: dict[str, int]
    steps: dict[str, Any]
    estimate: Estimate
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--dry-run --json`` prints."""
        whole = dataclasses.asdict(self)
        return {**whole, "estimate": self.estimate.as_json(), "notes": list(self.notes)}

    def as_text(self) -> str:
        """Return what ``--dry-run`` prints."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.data.items())
        least, mean, most = (f"{self.space[key] / 1e9:.6f}" for key in ("least", "mean", "most"))
        lines = [
            f"data    {counts}",
            f"seed    {self.seed['params']:,} params, {self.seed['madds']:,} MAdds exact, "
            f"{self.seed['madds_paper']:,} in the paper's convention (with its head)",
            f"space   {self.space['layers']} layers; searchable part, G MAdds: seed "
            f"{self.space['seed'] / 1e9:.6f}, least {least}, mean {mean}, most {most}",
            f"budget  {self._budget()}",
            f"search  {self.plan['search_steps']:,} weight steps, of them "
            f"{self.plan['warmup_steps']:,} warm-up; {self.plan['alpha_steps']:,} alpha steps",
            f"tune    {self.plan['tune_steps']:,} steps",
            f"tried   one search step {self.steps['search_s']:.2f} s, one tuning step "
            f"{self.steps['tune_s']:.2f} s, on {self.steps['images']} images at "
            f"{self.steps['height']}x{self.steps['width']}, {self.steps['device']}",
            *self.estimate.as_lines(self.steps["device"]),
            *(f"note    {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def _budget(self) -> str:
        from fnac.architectures.budget import say

        of = self.budget
        seed, least, most = (say(of[key], of["unit"]) for key in ("seed", "least", "most"))
        asked = "none" if of["value"] is None else f"{say(of['value'], of['unit'])} ({of['asked']})"
        return f"{asked}; the seed costs {seed}, the search space has {least} to {most}"


class FewSamples:
    """A data set that shows only the first samples of each split: so many to train, and of others.

    train, others  the most samples of the split train, and of any other split
    """

    def __init__(self, source: DataSource, train: int, others: int) -> None:
        self._source, self._train, self._others = source, train, others
        self.name, self.classes, self.splits = source.name, source.classes, source.splits

    def split(self, name: str) -> Dataset:
        """Return the first samples of a split."""
        whole = self._source.split(name)
        most = self._train if name == "train" else self._others
        return Subset(whole, tuple(range(min(most, len(whole)))))

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check all files of the data set."""
        self._source.check(splits)


def dry_run(plan: Plan) -> DryRun:
    """Run every check and one step of each kind; raises what a real run would raise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--dry-run: it runs in one process; run it without torchrun")
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fnac-dry-run-") as folder:
        run = AdaptRun(plan, Path(folder), Ranks(first=True))
        plan.check_device()
        plan.check_data()
        began = time.perf_counter()
        run.seed()
        run.expand()
        prepare = time.perf_counter() - began
        steps = _planned_steps(plan, notes)
        figures, space = _costs(run.path("super.onnx"))
        budget = _budget(run)
        with _quiet():  # what a search of one step says of itself misleads
            tried, timed = _try_steps(run, notes)
        source = plan.source
        data = {name: len(source.split(name)) for name in source.splits}
        manifest = run.manifest("super.onnx")
        validation = data.get(plan.eval.split, 0)
        told = estimate(plan, manifest, steps, timed, prepare=prepare, validation=validation)
    return DryRun(plan.adapt.task, data, figures, space, budget, steps, tried, told, tuple(notes))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("fnac")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _costs(network: Path) -> tuple[dict[str, int], dict[str, int]]:
    from fnac.architectures.costs import space_costs

    graph = Graph.load(network)
    space = space_costs(graph.manifest)
    even = [[1 / len(layer.costs)] * len(layer.costs) for layer in space.layers]
    Choose().run(graph)
    exact, paper = profile(graph), profile(graph, convention="paper")
    return (
        {
            "params": exact.params,
            "madds": exact.madds,
            "params_paper": paper.params,
            "madds_paper": paper.madds,
        },
        {
            "layers": len(space.layers),
            "fixed": space.fixed,
            "seed": space.seed_total() - space.fixed,
            "least": space.least() - space.fixed,
            "mean": round(space.expected(even)) - space.fixed,
            "most": space.greatest() - space.fixed,
        },
    )


def _budget(run: AdaptRun) -> dict[str, Any]:
    """Return the budget and the reachable range, in one unit."""
    from fnac.architectures.budget import budget_costs

    plan, manifest = run.plan, run.manifest("super.onnx")
    costs, budget = budget_costs(manifest, plan.adapt.budget_of, run.latencies()), plan.budget
    return {
        "asked": "none" if budget is None else budget.text,
        "value": None if budget is None else budget.resolve(costs),
        "unit": costs.unit,
        "seed": costs.seed_total(),
        "least": costs.least(),
        "most": costs.greatest(),
    }


def _planned_steps(plan: Plan, notes: list[str]) -> dict[str, int]:
    """Predict the steps of a real run."""
    from fnac.data.loader import split
    from fnac.training.settings import for_batch

    train = plan.source.split("train")
    search = for_batch(plan.search, plan.search.batch_size)
    weights, _ = split(train, search.split, search.random_seed)
    tune = for_batch(plan.tune, plan.tune.batch_size)
    notes += [
        f"{problem}; a real run would refuse that: more data, or a smaller --batch"
        for problem in plan.unfilled_batches()
    ]
    planned = search.plan(len(weights) // search.batch_size)
    return {
        "search_steps": planned.total,
        "warmup_steps": planned.warmup,
        "alpha_steps": planned.alpha_steps,
        "tune_steps": tune.steps or tune.epochs * (len(train) // tune.batch_size),
    }


def _try_steps(run: AdaptRun, notes: list[str]) -> tuple[dict[str, Any], Timed]:
    """Take steps of each kind on two images, then on whole batches if that will not take long."""
    import torch

    plan = run.plan
    cuda = plan.search.device != "cpu" and torch.cuda.is_available()
    manifest = run.manifest("super.onnx")
    size = _size_of_steps(plan, manifest, cuda, notes)
    images = min(STEP_PICTURES, plan.search.batch_size)
    timed = _time_steps(run, images, size, cuda)
    batch = min(plan.search.batch_size, plan.tune.batch_size)
    whole = batch / images * STEPS * (timed.search + timed.tune)
    filled = len(plan.source.split("train")) >= 2 * batch  # both halves of a search
    if batch > images and whole < SHORT_S and filled:
        images, timed = batch, _time_steps(run, batch, size, cuda)
    tried = {
        "search_s": round(timed.search, 3),
        "tune_s": round(timed.tune, 3),
        "images": images,
        "height": size[0],
        "width": size[1],
        "device": "GPU" if cuda else "CPU",
    }
    return tried, timed


def _time_steps(run: AdaptRun, images: int, size: tuple[int, int], cuda: bool) -> Timed:
    """Take ``STEPS`` steps of the search and of the fine-tuning, of ``images`` images each."""
    import torch

    from fnac.architectures.budget import CostLimit
    from fnac.progress import peak_memory
    from fnac.stages.derive import DeriveSettings, derive
    from fnac.stages.search import search
    from fnac.stages.tune import tune
    from fnac.training.watchers import watched_by

    def memory() -> float:
        return float(torch.cuda.max_memory_allocated()) if cuda else peak_memory()

    plan, trained, target = run.plan, run.path("trained.onnx"), run.path("target.onnx")
    few = FewSamples(plan.source, 4 * STEPS * images, 2 * images)
    task, clock, before = run.task("super.onnx"), StepClock(), memory()
    searching = dataclasses.replace(
        _small(plan.search, size, images), steps=STEPS, warmup_steps=0, split=0.5
    )
    tuning = dataclasses.replace(_small(plan.tune, size, images), steps=STEPS, recalibrate_bn=0)
    with watched_by(clock):
        search(
            run.path("super.onnx"), few, task, trained, run.path("search"), searching,
            limit=CostLimit(plan.budget, run.latencies()),
        )  # fmt: skip
        derive(trained, target, DeriveSettings(verify=False), arch="seed")
        tune(target, few, task, target, run.path("tune"), tuning)
    validated = len(few.split("val")) if "val" in few.splits else 0
    return Timed.read(
        clock,
        images=images,
        area=size[0] * size[1],
        validated=validated,
        memory=memory(),
        before=before,
    )


S = TypeVar("S", SearchSettings, TuneSettings)


def _small(settings: S, size: tuple[int, int], images: int) -> S:
    """Return the settings for steps on so many images of one size; of fewer, if the plan has."""
    return dataclasses.replace(
        settings,
        size=size,
        crop=None,
        batch_size=min(images, settings.batch_size),
        lr_batch=None,
        workers=0,
        log_every=1,
        lr_warmup_steps=0,
    )


def _size_of_steps(
    plan: Plan, manifest: Mapping[str, Any], cuda: bool, notes: list[str]
) -> tuple[int, int]:
    """Return (H, W) of the images that steps are tried on: the search's, smaller on a CPU.

    Of a batch of one it is the search's: whether BatchNorm can normalise one image depends on it.
    """
    height, width = plan.search.crop or plan.search.whole_size(manifest)
    alone = min(plan.search.batch_size, plan.tune.batch_size) == 1
    if not cuda and not alone and max(height, width) > CPU_SIDE:
        shrunk = CPU_SIDE / max(height, width)
        height, width = (max(64, round(side * shrunk / 32) * 32) for side in (height, width))
        notes.append(f"the steps were taken at {height}x{width}, because this is a CPU")
    return height, width
