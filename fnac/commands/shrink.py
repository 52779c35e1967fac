"""The command ``fnac shrink``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnac.commands.common import Answer, configured, printed
from fnac.commands.options import (
    DATA,
    MEAN,
    in_section,
    mean_options,
    model_argument,
    no_verify_option,
    out_file,
    size_option,
    skip_bad_option,
)

if TYPE_CHECKING:
    from fnac.config import Config
    from fnac.stages.shrink import ShrinkResult


@click.command()
@model_argument
@click.option("--budget", help="0.6x, 60%, 300M, or 2.4M with --budget-of params.  [default: 0.6x]")
@click.option("--budget-of", type=click.Choice(["madds", "params"]))
@click.option("--data", metavar="SPEC", help="Images to fit to; pictures:FOLDER needs no labels.")
@skip_bad_option
@click.option("--effort", type=int, help="Networks made and measured in the search.  [default: 6]")
@click.option("--heal", type=int, help="Then train it for so many epochs to say what MODEL says.")
@click.option("--curve", is_flag=True, help="Show what budgets cost in error; write no network.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw that into this PNG.")
@out_file
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
    heal: int | None,
    curve: bool,
    plot: Path | None,
) -> Answer:
    """Make MODEL cheaper without labels and without training.

    Hidden channels go where the network's answers miss them least; what is left is fitted to what
    the original computes on the images of --data. Names, inputs and outputs of the file stay.
    With --heal the result is trained as well, towards the original's own outputs.
    """
    from fnac.adaptation.shrink_file import heal_shrunk, shrink_graph
    from fnac.errors import UsageError
    from fnac.passes.graph import Graph

    if curve and (heal or out):
        raise UsageError("--curve writes no network: drop --heal and --out")
    original = Graph.load(model)
    found = shrink_graph(original, config, only_curve=curve)
    if plot is not None:
        _draw(found, plot, made=not curve)
    if curve:
        return Answer({"model": None, **found.as_json()}, _text(found))
    path = found.graph.save(out or model.with_name(f"{model.stem}.small.onnx"))
    written = {"model": str(path), **found.as_json()}
    lines = [_text(found), *_costs(found)]
    if heal is not None:
        healed = heal_shrunk(found, original, config, heal, path.with_suffix(".heal"))
        healed.graph.save(path)
        written["healed"] = healed.as_json()
        lines.append(f"healed error {healed.start:.4g} -> {healed.error:.4g}")
    return Answer(written, "\n".join([*lines, str(path)]))


def _draw(found: ShrinkResult, path: Path, *, made: bool) -> None:
    from fnac.passes.files import write_atomically
    from fnac.report.plots import trade_off

    point = (found.after[found.unit], found.error) if made else None
    write_atomically(path, trade_off(found.curve, point, found.unit).light)


def _text(found: ShrinkResult) -> str:
    from fnac.text import human, table

    sum_of_errors = sum(row.error for row in found.rows) or 1.0
    rows = [
        [
            row.name,
            row.was,
            row.width,
            human(row.madds_saved),
            f"{100 * row.error / sum_of_errors:.0f}%",
        ]
        for row in found.rows
    ]
    lines = [table(["block", "was", "is", "MAdds saved", "share of error"], rows), ""]
    total = found.before[found.unit]
    points = [[f"{cost / total:.2f}x", human(cost), f"{error:.4g}"] for cost, error in found.curve]
    lines += [table(["budget", found.unit, "predicted error"], points), ""]
    return "\n".join(lines)


def _costs(found: ShrinkResult) -> list[str]:
    from fnac.text import human, percent

    lines = []
    for key in ("madds", "params"):
        before, after = found.before[key], found.after[key]
        lines.append(f"{key:7}{human(before)} -> {human(after)} ({percent(after, before)})")
    said = f"error  {found.error:.4g} on images held back ({found.measured_on})"
    return [*lines, said]


COMMANDS = [shrink]
