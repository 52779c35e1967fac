"""The fine-tuning as a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fnac.commands.common import Answer, configured, examples, printed
from fnac.commands.options import (
    DATA,
    MEAN,
    TEACHER,
    TRAINING,
    data_option,
    device_options,
    head_option,
    in_section,
    mean_options,
    out_run,
    output_stride_option,
    resume_option,
    size_option,
    teacher_options,
    train_options,
)
from fnac.commands.types import SeedType, TaskType
from fnac.text import table

if TYPE_CHECKING:
    from fnac.config import Config


@click.command(
    epilog=examples(
        "fnac tune bundled --task cls --data folder:flowers",
        "fnac tune seed.onnx --task seg --data camvid:camvid --size 180x240 --epochs 20",
        "fnac tune small.onnx --teacher original.onnx --data pictures:photos",
    )
)
@click.argument("model", metavar="MODEL|SEED", type=SeedType())
@data_option
@out_run
@click.option("--task", type=TaskType(), help="Needed if the file does not state it.")
@click.option("--recipe", help="Settings by name (fnac/models/recipes), or a YAML file.")
@head_option
@output_stride_option
@train_options
@teacher_options
@device_options
@size_option
@mean_options
@click.option("--find-lr", "find", flag_value="lr", help="Print a learning rate to use, and stop.")
@click.option("--find-batch", "find", flag_value="batch", help="Print a batch size, and stop.")
@resume_option
@printed
@configured(
    *("task", "heal"),
    task="adapt.task",
    head="expand.head",
    output_stride="expand.output_stride",
    **DATA,
    **in_section("tune", {**TRAINING, **TEACHER, **MEAN, "size": "size"}),
)
def tune(
    config: Config,
    model: Path | str,
    recipe: str | None,
    out: Path | None,
    find: Literal["lr", "batch"] | None,
    resume: bool,
) -> Answer:
    """Fine-tune any ONNX network on a data set; the tuned file is RUN/target.onnx.

    If a seed has no output for the data set's classes, give --task: it gets a head first. --recipe
    sets how it is tuned. Without --teacher the network learns from labels; with it, from another
    network as well. With --data pictures:FOLDER, which has no labels, it learns from the teacher's
    outputs only, for example to heal a shrunk network from its original.
    """
    from fnac.adaptation.settings import with_recipe
    from fnac.adaptation.single_stages import run_tune
    from fnac.errors import UsageError

    if recipe is not None:
        seed = {**config.get("adapt", {}), "seed": str(model)}
        config = with_recipe({**config, "adapt": seed}, recipe)
    if find is not None:
        if resume or out:
            raise UsageError(f"--find-{find} keeps nothing: drop --resume and --out")
        return _suggested(model, config, find)
    told = run_tune(model, config, out=out, resume=resume)
    if "curve" in told:  # without labels
        curve = " ".join(f"{error:.4f}" for error in told["curve"])
        line = f"error   {told['error']:.4f} of the answers' variance; was {told['start']:.4f}"
        text = f"{line}\nepochs  {curve}\noutput: {told['output']}"
        return Answer(told, text)
    val, kept = told["val"], told["weights"]
    measured = "not measured: no split val" if val is None else f"{val:.2f} on the split val"
    lines = [
        f"{told['metric']}  {measured}, with the {kept} weights of {told['steps']:,} steps",
        f"loss:   {told['loss']:.4g}",
        f"output: {told['output']}",
    ]
    return Answer(told, "\n".join(lines))


def _suggested(model: Path | str, config: Config, what: Literal["lr", "batch"]) -> Answer:
    """Run a range test and say what it suggests."""
    from fnac.adaptation.finding import SHOWN, run_find

    told = run_find(model, config, what)
    if what == "lr":
        few = told["points"][:: max(1, len(told["points"]) // SHOWN)]
        rows = [[f"{rate:.1e}", f"{loss:.4g}"] for rate, loss in few]
        shown = table(["learning rate", "loss"], rows)
        return Answer(
            told, f"{shown}\n\ntry  --lr {told['lr']:.1e} --head-lr {told['head_lr']:.1e}"
        )
    rows = [[size, f"{speed:.3g}"] for size, speed in told["points"]]
    shown = table(["batch", "images/s"], rows)
    return Answer(told, f"{shown}\n\ntry  --batch {told['batch']}  ({told['limit']})")
