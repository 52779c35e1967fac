"""Everyday commands: list names, summarise data, write a settings file, compare runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnac.commands.common import Answer, configured, examples, printed
from fnac.commands.options import skip_bad_option
from fnac.commands.types import TaskType, UserPath

if TYPE_CHECKING:
    from fnac.config import Config
    from fnac.errors import DataError

logger = logging.getLogger(__name__)

LISTS = ("tasks", "heads", "seeds", "spaces", "recipes", "passes", "strategies", "readers")


class _Kind(click.Choice):  # type: ignore[type-arg]
    """One of the lists, singular or plural."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the name of a list."""
        plural = {"strategy": "strategies", "pass": "passes"}.get(value, f"{value}s")
        return super().convert(plural if plural in self.choices else value, param, ctx)


@click.command("list", epilog=examples("fnac list heads", "fnac list recipes --json"))
@click.argument("kind", type=_Kind(LISTS), required=False)
@printed
def list_names(kind: str | None) -> Answer:
    """List tasks, heads, seeds, spaces, recipes, passes, strategies or readers by name."""
    from fnac.overview.registries import USE, as_text, named
    from fnac.text import table

    if kind is None:
        rows = [[f"fnac list {one}", USE[one]] for one in LISTS]
        return Answer({"lists": list(LISTS)}, table(["list", "its names are given as"], rows))
    entries = named(kind)
    told = [{"name": one.name, "tasks": list(one.tasks), "what": one.what} for one in entries]
    return Answer({kind: told}, as_text(kind, entries))


@click.command(
    epilog=examples(
        "fnac data folder:flowers", "fnac data camvid:camvid --samples 24 -o camvid.png"
    )
)
@click.argument("spec", metavar="SPEC")
@click.option("--task", type=TaskType(), help="Needed where SPEC can be read for several.")
@skip_bad_option
@click.option(
    "-o",
    "--out",
    type=UserPath(dir_okay=False),
    help="Sheet of samples to write (PNG).  [default: data.png]",
)
@click.option("--split", default="train", show_default=True, help="Split of the sheet's samples.")
@click.option("--samples", default=12, show_default=True, help="Samples on the sheet; 0: none.")
@printed
def data(
    spec: str, task: str | None, skip_bad: bool | None, out: Path | None, split: str, samples: int
) -> Answer:
    """Summarise the data set SPEC class by class, and draw samples with their ground truth.

    Reads every file and label, as before training, and names broken ones.
    """
    from fnac.data.account import take_account
    from fnac.data.spec import only_task_of, open_data
    from fnac.errors import DataError, UsageError
    from fnac.overview.sample_sheet import sample_sheet
    from fnac.tasks.panels import write_png

    if samples < 0:
        raise UsageError(f"--samples {samples}: wanted zero or more")
    task = task or only_task_of(spec)
    source = open_data(spec, task, skip_bad=bool(skip_bad))
    account = take_account(source, task, "val" if "val" in source.splits else None)
    refused: DataError | None = None
    try:
        account.refuse()
    except DataError as error:
        refused = error
    lines = [account.as_text(), *(f"note    {finding.text}" for finding in account.findings())]
    told = account.as_json()
    if samples:
        out = out or Path("data.png")
        write_png(out, sample_sheet(source, task, split, samples))
        told["sheet"] = str(out)
        lines.append(f"sheet   {out}   ({min(samples, len(source.split(split)))} of '{split}')")
    if refused is not None:
        logger.info("%s", "\n".join(lines), extra={"lines": True})
    return Answer(told, "\n".join(lines), refused)


@click.command(
    epilog=examples("fnac init --task det --data coco:boxes", "fnac adapt --config fnac.yaml")
)
@click.option(
    "-o",
    "--out",
    default="fnac.yaml",
    show_default=True,
    type=UserPath(dir_okay=False),
    help="File to write.",
)
@click.option("--task", type=TaskType(), help="The task.  [default: seg]")
@click.option("--data", metavar="SPEC", help="NAME:PATH or a YAML file.")
@click.option("--recipe", help="Settings to begin with, by name (fnac list recipes), or a file.")
@printed
@configured()
def init(
    config: Config, out: Path, task: str | None, data: str | None, recipe: str | None
) -> Answer:
    """Write a settings file to begin with: every setting, with its default and what it does.

    Every command takes the file with --config. Values from --task, --data, --recipe and --config
    are set in it; everything else is commented out.
    """
    from fnac.adaptation.settings import recipe_for, task_named
    from fnac.config import merge
    from fnac.errors import UsageError
    from fnac.overview.settings_file import commented_yaml
    from fnac.passes.files import write_atomically

    if out.exists():
        raise UsageError(f"-o {out}: it is there already; name another, or remove it")
    said: dict[str, dict[str, Any]] = {"adapt": {}}
    settings = {} if recipe is None else recipe_for(recipe, seed=None, task=task, data=data) or {}
    task = task or task_named(config) or task_named(settings) or "seg"
    said["adapt"]["task"] = task
    if data is not None:
        said["adapt"]["data"] = data
    merged = merge(settings, config, said)
    write_atomically(out, commented_yaml(merged, task, out.name).encode())
    text = f"{out}: change what you like, then fnac adapt --config {out}"
    return Answer({"out": str(out), "task": task}, text)


@click.command(epilog=examples("fnac compare runs/seg runs/seg2"))
@click.argument("runs", metavar="RUN...", type=UserPath(), nargs=-1, required=True)
@printed
def compare(runs: tuple[Path, ...]) -> Answer:
    """Compare finished runs: metric, cost, baseline, time, and settings that differ."""
    from fnac.study.compare import compare_runs

    comparison = compare_runs(runs)
    return Answer(comparison.as_json(), comparison.as_text())


COMMANDS = [list_names, data, init, compare]
