"""`adapt`, which runs all stages (order: fnac/flow.py), and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnac.commands.common import Told, configured, examples, printed
from fnac.commands.options import (
    BUDGET,
    DATA,
    budget_options,
    data_option,
    device_options,
    expand_options,
    mean_options,
    no_verify_option,
    out_run,
    resume_option,
    search_options,
    size_option,
)
from fnac.commands.types import TaskType, UserPath

if TYPE_CHECKING:
    from fnac.config import Config

ADAPT = {
    "seed": "adapt.seed",
    "task": "adapt.task",
    **DATA,
    **BUDGET,
    "no_verify": "adapt.no_verify",
    "strategy": "adapt.strategy",
    "baseline": "adapt.baseline",
    "sizes": "adapt.sizes",
    "output_strides": "adapt.output_strides",
    "finalists": "adapt.finalists",
    "remap_target": "derive.weights",
    "recalibrate_bn": "tune.recalibrate_bn",
    "teacher": "tune.teacher",
    "head": "expand.head",
    "classes": "expand.classes",
    "space": "expand.space",
    "remap": "expand.remap",
    "output_stride": "expand.output_stride",
    "mean": "expand.mean",
    "std": "expand.std",
    "size": "expand.size search.size tune.size",
    "batch": "search.batch_size tune.batch_size",
    "alpha_grad": "search.alpha_grad",
    "lambda_": "search.lambda_",
    "device": "search.device tune.device",
    "precision": "search.precision tune.precision",
    "random_seed": "export.random_seed expand.random_seed search.random_seed tune.random_seed",
    "workers": "search.workers tune.workers",
}
"""Option -> the settings that it is."""
USES = ("task", "derive", "emit", "eval", "shrink")
"""Sections without an option here."""


@click.command(
    epilog=examples(
        "fnac adapt --task seg",
        "fnac adapt --task seg --data folder:mine --budget 0.8x --dry-run",
        "fnac adapt seed.onnx --task det --data coco:boxes --strategy measured -o runs/boxes",
        "fnac adapt --resume",
    )
)
@click.argument("seed", metavar="[SEED.onnx|NAME]", required=False)
@click.option("--task", type=TaskType(), help="Required, unless a recipe names it.")
@data_option
@out_run
@budget_options
@click.option(
    "--strategy",
    help="How the target is chosen: measured, diff, random, sample, evolve, uniform, seed.",
)
@click.option(
    "--no-baseline",
    "baseline",
    flag_value=False,
    default=None,
    help="Do not also tune the seed's own architecture.",
)
@click.option(
    "--sizes", metavar="auto|HxW,HxW", help="Input sizes to choose from at the same budget."
)
@click.option(
    "--output-strides", metavar="8,16", help="Output strides to choose from at the same budget."
)
@click.option(
    "--remap-target",
    type=click.Choice(["from-super", "from-seed", "random"]),
    callback=lambda _context, _option, value: value and value.removeprefix("from-"),
    help="Weights of the target before it is tuned.  [default: from-super]",
)
@click.option(
    "--recalibrate-bn",
    type=int,
    metavar="BATCHES",
    help="Recalibrate BN statistics on this many batches before tuning.",
)
@click.option("--finalists", type=int, help="Architectures that are tuned briefly (measured only).")
@click.option("--teacher", help="Network that tuning learns from: FILE.onnx, or baseline.")
@click.option("--recipe", help="Settings by name (fnac/models/recipes), none, or a YAML file.")
@expand_options
@size_option
@mean_options
@click.option("--batch", type=int, help="Images per step of search and tuning, over all devices.")
@search_options
@device_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check data, plan and costs, estimate time and memory from a few steps; keep nothing.",
)
@resume_option
@no_verify_option
@printed
@configured(*USES, **ADAPT)
def adapt(
    config: Config,
    recipe: str | None,
    out: Path | None,
    dry_run: bool,
    resume: bool,
) -> Told | None:
    """Adapt a seed to a task and a budget: expand, search, derive, tune, emit, eval, report.

    Without arguments: the bundled seed, on built-in scenes. The run folder is never overwritten;
    --resume continues one that was stopped, at whatever stage and step.
    """
    from fnac import flow
    from fnac.adaptation.plan import Plan
    from fnac.adaptation.settings import with_recipe
    from fnac.errors import UsageError

    if resume:
        if dry_run:
            raise UsageError("--dry-run, --resume: a dry run keeps nothing; give one of them")
        if recipe is not None:
            config.setdefault("adapt", {})["recipe"] = recipe
        return flow.resume(config, out=out)
    plan = Plan.of(with_recipe(config, recipe))
    if dry_run:
        from fnac.adaptation.dry_run import dry_run as try_out

        return try_out(plan)
    return flow.adapt(plan, out=out)


@click.command()
@click.argument("run", type=UserPath())
@configured()
def report(run: Path, config: Config) -> None:
    """Write RUN/report.html (self-contained) and its images."""
    from fnac.report import write_report

    click.echo(str(write_report(run)))


COMMANDS = [adapt, report]
