"""The command ``fnac study``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnac.commands.common import Answer, configured, printed
from fnac.commands.options import DATA, data_option, resume_option
from fnac.commands.types import UserPath

if TYPE_CHECKING:
    from fnac.config import Config

SECTIONS = (
    *("adapt", "task", "export", "expand", "search"),
    *("derive", "tune", "emit", "eval", "shrink"),
)


@click.command()
@click.argument("file", type=UserPath(dir_okay=False))
@click.option("-o", "--out", type=UserPath(), help="Folder of the study.  [default: studies/NAME]")
@data_option
@resume_option
@printed
@configured(*SECTIONS, **DATA)
def study(config: Config, file: Path, out: Path | None, resume: bool) -> Answer:
    """Run the adaptations that FILE names, for every random seed; write their table and plots.

    Shared stages are computed once. --resume continues a study that was stopped, run by run. With
    `processes` in the file and Ray installed, several runs execute in parallel.
    """
    from fnac.study.plots import write_plots
    from fnac.study.run_study import check_complete, run_study
    from fnac.study.table import as_markdown, write_tables

    folder = out or Path("studies") / file.stem
    asked, result = run_study(file, folder, config, resume=resume)
    figures, lines = write_tables(asked, folder)
    write_plots(figures, lines, folder)
    told = {
        "study": str(folder),
        "failed": result.failed,
        "runs": [
            {
                "name": line.name, "metric": line.metric, "mean": line.mean,
                "deviation": line.deviation, "n": len(line.values), "madds": line.madds,
                "params": line.params, "control": line.baseline,
            }
            for line in lines
        ],
    }  # fmt: skip
    if not lines:
        check_complete(result)
    text = as_markdown(lines, asked.reference) + f"study   {folder}"
    if result.failed:
        text += "\n" + "\n".join(f"failed  {name}: {why}" for name, why in result.failed.items())
    return Answer(told, text)


COMMANDS = [study]
