"""``fnac adapt --dry-run``: look at the data, the plan and the costs, take one step of each kind.

Nothing is kept. Steps are taken on two pictures; on a CPU at a smaller size, because a step of a
large recipe there takes minutes and tens of gigabytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fnac.adaptation.adapt_run import AdaptRun
from fnac.adaptation.plan import check_data, resolve
from fnac.adaptation.settings import task_for
from fnac.config import Config, build
from fnac.data.loader import Subset
from fnac.data.source import Dataset, DataSource
from fnac.errors import UsageError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.super_network.choose import Choose
from fnac.ranks import Ranks

STEP_PICTURES = 2  # BN of a pooled branch needs more than one value a channel
CPU_SIDE = 320  # pixels of the longer side in a CPU's steps


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What a dry run found out; see ``as_text``."""

    task: str
    data: dict[str, int]
    seed: dict[str, int]
    space: dict[str, int]
    plan: dict[str, int]
    steps: dict[str, Any]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--dry-run --json`` prints."""
        return {**dataclasses.asdict(self), "notes": list(self.notes)}

    def as_text(self) -> str:
        """Return what ``--dry-run`` prints."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.data.items())
        least, mean, most = (f"{self.space[key] / 1e9:.6f}" for key in ("least", "mean", "most"))
        lines = [
            f"data    {counts}",
            f"seed    {self.seed['params']:,} params, {self.seed['madds']:,} MAdds exact, "
            f"{self.seed['madds_paper']:,} in the paper's convention (with its head)",
            f"space   {self.space['layers']} layers; searchable part, B MAdds: seed "
            f"{self.space['seed'] / 1e9:.6f}, least {least}, mean {mean}, most {most}",
            f"search  {self.plan['search_steps']:,} weight steps, of them "
            f"{self.plan['warmup_steps']:,} warm-up; {self.plan['alpha_steps']:,} alpha steps",
            f"tune    {self.plan['tune_steps']:,} steps",
            f"tried   one search step {self.steps['search_s']:.1f} s, one tuning step "
            f"{self.steps['tune_s']:.1f} s (all that goes with them included), on "
            f"{STEP_PICTURES} pictures at {self.steps['height']}x{self.steps['width']}, "
            f"{self.steps['device']}",
            *(f"note    {note}" for note in self.notes),
        ]
        return "\n".join(lines)


class FewSamples:
    """A data set of which only the first samples of each split are seen."""

    def __init__(self, source: DataSource, count: int) -> None:
        self._source, self._count = source, count

    def split(self, name: str) -> Dataset:
        """Return the first samples of a split."""
        whole = self._source.split(name)
        return Subset(whole, tuple(range(min(self._count, len(whole)))))

    def __getattr__(self, name: str) -> Any:
        """Be the data set in everything else (classes, joints, ...)."""
        return getattr(self._source, name)

    # declared for the protocol; found by __getattr__ of the source itself
    name: str
    classes: list[str]
    splits: tuple[str, ...]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Look at the files of the data set, all of them."""
        self._source.check(splits)


def dry_run(config: Config, *, verify: bool = True) -> DryRun:
    """Do everything that can go wrong early, once; raises what a real run would raise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--dry-run: it runs in one process; leave torchrun away")
    resolved = resolve(config)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fnac-dry-run-") as folder:
        run = AdaptRun(Path(folder), config, verify, Ranks(first=True), resume=False)
        check_data(run.source, resolved)
        run.seed()
        run.expand()
        plan = _plan(run, resolved, notes)
        figures, space = _costs(run.path("super.onnx"))
        with _quiet():  # what a search of one step says of itself misleads
            steps = _steps(run, resolved, notes)
        data = {name: len(run.source.split(name)) for name in run.source.splits}
    return DryRun(run.settings.task, data, figures, space, plan, steps, tuple(notes))


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


def _plan(run: AdaptRun, resolved: dict[str, dict[str, Any]], notes: list[str]) -> dict[str, int]:
    """Predict the steps of a real run."""
    from fnac.data.loader import split
    from fnac.search.settings import SearchSettings
    from fnac.stages.tune_settings import TuneSettings
    from fnac.training.settings import for_batch

    train = run.source.split("train")
    search = build(SearchSettings, resolved["search"], "search")
    search = for_batch(search, search.batch_size)
    weights, alphas = split(train, search.split, search.random_seed)
    tune = build(TuneSettings, resolved["tune"], "tune")
    tune = for_batch(tune, tune.batch_size)
    for what, count, batch in (
        ("search: the weights' part", len(weights), search.batch_size),
        ("search: the alphas' part", len(alphas), search.batch_size),
        ("tune: the training set", len(train), tune.batch_size),
    ):
        if count < batch:
            notes.append(
                f"{what} has {count} samples, which do not fill one batch of {batch}; a real run "
                "would refuse that: more data, or a smaller --batch"
            )
    planned = search.plan(len(weights) // search.batch_size)
    return {
        "search_steps": planned.total,
        "warmup_steps": planned.warmup,
        "alpha_steps": planned.alpha_steps,
        "tune_steps": tune.steps or tune.epochs * (len(train) // tune.batch_size),
    }


def _steps(run: AdaptRun, resolved: dict[str, dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Take one search step and one tuning step; return how long they took, and at which size."""
    import torch

    from fnac.search.settings import SearchSettings
    from fnac.stages.derive import DeriveSettings, derive
    from fnac.stages.search import search
    from fnac.stages.tune import tune
    from fnac.stages.tune_settings import TuneSettings

    device = str(resolved["search"]["device"])
    cuda = device != "cpu" and torch.cuda.is_available()
    manifest = Graph.load(run.path("super.onnx")).manifest
    size = resolved["search"]["crop"] or resolved["search"]["size"] or manifest["size"]
    height, width = (int(side) for side in size)
    if not cuda and max(height, width) > CPU_SIDE:
        shrunk = CPU_SIDE / max(height, width)
        height, width = (max(64, round(side * shrunk / 32) * 32) for side in (height, width))
        notes.append(f"the steps were taken at {height}x{width}, because this is a CPU")
    small = {
        "size": (height, width),
        "crop": None,
        "batch_size": STEP_PICTURES,
        "lr_batch": None,
        "workers": 0,
        "lr_warmup_steps": 0,
        "recalibrate_bn": 0,
    }
    few = FewSamples(run.source, 4 * STEP_PICTURES)
    task = task_for(run.settings, few, run.config, manifest)
    began = time.perf_counter()
    keys = {f.name for f in dataclasses.fields(SearchSettings)}
    settings = {
        **resolved["search"],
        **{k: v for k, v in small.items() if k in keys},
        "steps": 1,
        "warmup_steps": 0,
        "split": 0.5,
    }
    trained = run.path("trained.onnx")
    search(
        run.path("super.onnx"),
        few,
        task,
        trained,
        run.path("search"),
        build(SearchSettings, settings, "search"),
        budget=run.budget,
        latency_table=run.latencies(),
    )
    searched = time.perf_counter()
    target = run.path("target.onnx")
    derive(trained, target, DeriveSettings(verify=False), arch="seed")
    keys = {f.name for f in dataclasses.fields(TuneSettings)}
    settings = {
        **resolved["tune"],
        **{k: v for k, v in small.items() if k in keys},
        "steps": 1,
    }
    derived = time.perf_counter()
    tune(target, few, task, target, run.path("tune"), build(TuneSettings, settings, "tune"))
    return {
        "search_s": round(searched - began, 2),
        "tune_s": round(time.perf_counter() - derived, 2),
        "height": height,
        "width": width,
        "device": "CUDA" if cuda else "CPU",
    }
