"""The command ``fnac shrink``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnac.commands.common import Answer, configured, examples, keep_original, printed
from fnac.commands.options import (
    DATA,
    MEAN,
    in_section,
    mean_options,
    model_argument,
    no_verify_option,
    out_file,
    resume_option,
    size_option,
    skip_bad_option,
)

if TYPE_CHECKING:
    from fnac.config import Config
    from fnac.stages.shrinking.result import ShrinkResult


@click.command(
    epilog=examples(
        "fnac shrink model.onnx --budget 0.6x --data pictures:photos",
        "fnac shrink model.onnx --curve --data pictures:photos --plot curve.png",
    )
)
@model_argument
@click.option("--budget", help="0.6x, 300M, 2.4M (of params), 12ms (of latency).  [default: 0.6x]")
@click.option("--budget-of", type=click.Choice(["madds", "params", "latency"]))
@click.option("--data", metavar="SPEC", help="Images to fit to; pictures:FOLDER needs no labels.")
@skip_bad_option
@click.option("--effort", type=int, help="Networks built and measured in the search.  [default: 6]")
@click.option("--heal", type=int, help="Then train it this many epochs towards MODEL's outputs.")
@click.option("--curve", is_flag=True, help="Show the error of several budgets; write no network.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw that curve into this PNG.")
@out_file
@resume_option
@size_option
@mean_options
@no_verify_option
@printed
@configured(
    *("task", "heal"),
    **DATA,
    budget="adapt.budget",
    budget_of="adapt.budget_of",
    effort="shrink.effort",
    size="shrink.size",
    **in_section("shrink", MEAN),
    no_verify="shrink.no_verify",
)
def shrink(
    config: Config,
    model: Path,
    out: Path | None,
    resume: bool,
    heal: int | None,
    curve: bool,
    plot: Path | None,
) -> Answer:
    """Make MODEL cheaper without labels and without training.

    Removes the hidden channels that affect the network's outputs least, and fits the rest to what
    the original computes on the images of --data. Names, inputs and outputs of the file stay.
    Measurements are kept next to the new file until it is written; --resume continues from there.
    --heal also trains the result towards the original's outputs.
    """
    from fnac.adaptation.shrink_file import ShrinkJob
    from fnac.errors import UsageError
    from fnac.passes.files import model_file
    from fnac.passes.graph import Graph

    if curve and (heal or out):
        raise UsageError("--curve writes no network: drop --heal and --out")
    job = ShrinkJob(Graph.load(model), config)
    path = out or model_file(model).with_name(f"{model_file(model).stem}.small.onnx")
    keep_original(path, model_file(model))
    journal, healed_in = path.with_suffix(".shrink.json"), path.with_suffix(".heal")
    healing = None if heal is None else job.healing(heal, healed_in)
    shrunk = job.shrink(only_curve=curve, journal=journal, resume=resume)
    if plot is not None:
        _draw(shrunk, plot, done=not curve)
    if curve:
        return Answer({"model": None, **shrunk.as_json()}, _text(shrunk))
    path = shrunk.graph.save(path)
    written = {"model": str(path), **shrunk.as_json()}
    lines = [_text(shrunk), *_costs(shrunk)]
    if healing is not None:
        healed = job.heal(shrunk, healing, healed_in)
        healed.graph.save(path)
        written["healed"] = healed.as_json()
        lines.append(f"healed error {healed.start:.4g} -> {healed.error:.4g}")
    return Answer(written, "\n".join([*lines, str(path)]))


def _draw(shrunk: ShrinkResult, path: Path, *, done: bool) -> None:
    from fnac.passes.files import write_atomically
    from fnac.report.plots import trade_off

    point = (shrunk.after[shrunk.unit], shrunk.error) if done else None
    write_atomically(path, trade_off(shrunk.curve, point, shrunk.unit).light)


def _text(shrunk: ShrinkResult) -> str:
    from fnac.text import human, table

    sum_of_errors = sum(row.error for row in shrunk.rows) or 1.0
    rows = [
        [
            row.name,
            row.was,
            row.width,
            human(row.madds_saved),
            f"{100 * row.error / sum_of_errors:.0f}%",
        ]
        for row in shrunk.rows
    ]
    lines = [table(["block", "was", "is", "MAdds saved", "share of error"], rows), ""]
    total = shrunk.before[shrunk.unit]
    points = [[f"{cost / total:.2f}x", human(cost), f"{error:.4g}"] for cost, error in shrunk.curve]
    lines += [table(["budget", shrunk.unit, "predicted error"], points), ""]
    return "\n".join(lines)


def _costs(shrunk: ShrinkResult) -> list[str]:
    from fnac.text import human, percent

    lines = []
    for key in ("madds", "params"):
        before, after = shrunk.before[key], shrunk.after[key]
        lines.append(f"{key:7}{human(before)} -> {human(after)} ({percent(after, before)})")
    if shrunk.latency is not None:
        ms = shrunk.latency
        lines.append(
            f"latency {ms.before:.2f} -> {ms.after:.2f} ms of {ms.budget:.2f} ms on this machine"
        )
    said = f"error  {shrunk.error:.4g} on held-out images ({shrunk.measured_on})"
    return [*lines, said]


COMMANDS = [shrink]
