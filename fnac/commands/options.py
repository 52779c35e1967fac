"""Options that several commands share, singly and in groups. Imports click only."""

from __future__ import annotations

from collections.abc import Callable

import click

from fnac.commands.common import F
from fnac.commands.types import ModelPath, PrecisionType, SizeType, UserPath


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator that adds all the options, in this order."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


model_argument = click.argument("model", type=ModelPath())
size_option = click.option("--size", type=SizeType(), help="Input size of the images.")
no_verify_option = click.option(
    "--no-verify",
    is_flag=True,
    default=None,
    help="Skip the proof after every pass (not recommended).",
)
dump_option = click.option(
    "--dump-passes",
    type=UserPath(file_okay=False),
    help="Write the graph after each pass into this folder.",
)
ledger_option = click.option("--ledger", type=UserPath(), help="Write the ledger (JSON) here.")
out_file = click.option("-o", "--out", type=UserPath(), help="File to write.")
out_run = click.option("-o", "--out", type=UserPath(), help="Run folder.")
skip_bad_option = click.option(
    "--skip-bad",
    is_flag=True,
    default=None,
    help="Leave out samples with wrong annotations, say how many.  [default: refuse them]",
)
data_option = together(
    click.option(
        "--data", metavar="SPEC", help="NAME:PATH or a YAML file.  [default: built-in scenes]"
    ),
    skip_bad_option,
)
budget_options = together(
    click.option("--budget", help="24.2G, 0.9x, 90%, or 2.4M with --budget-of params."),
    click.option("--budget-of", type=click.Choice(["madds", "params", "latency"])),
    click.option(
        "--latency-table",
        type=UserPath(),
        help="Measured before with `fnac bench --latency-table`.  [default: measure]",
    ),
)
output_stride_option = click.option(
    "--output-stride",
    type=int,
    help="Of the backbone under a dense head: 8, 16 (the default, where the network allows it) or "
    "32.",
)
head_option = click.option("--head", help="Head to attach; own: the seed's.  [default: the task's]")
classes_option = click.option("--classes", type=int, help="Classes, without background.")
expand_options = together(
    head_option,
    classes_option,
    click.option("--space", help="Search space: auto, a name, or a YAML file."),
    click.option(
        "--remap",
        "--remap-super",
        "remap",
        help="Remapping strategy of the super network: fna, fna-live, net2net, random, ...",
    ),
    output_stride_option,
)
train_options = together(
    click.option("--epochs", type=int),
    click.option("--batch", type=int, help="Images per step, over all devices."),
    click.option("--lr", type=float, help="Learning rate of the backbone."),
    click.option("--head-lr", type=float, help="Learning rate of the head."),
)
teacher_options = together(
    click.option(
        "--teacher",
        metavar="baseline|FILE.onnx",
        help="Network to learn from, with labels or (--data pictures:FOLDER) without.",
    ),
    click.option("--held-out", type=float, help="Share of the training set to choose weights by."),
    click.option(
        "--patience", type=int, help="Stop after this many evaluations without improvement."
    ),
    click.option(
        "--ema",
        type=float,
        help="Decay of a moving average of the weights (0.999), written instead.",
    ),
)
device_options = together(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"])),
    click.option("--precision", type=PrecisionType(), help="Precision of training."),
    click.option(
        "--random-seed", "--seed", "random_seed", type=int, help="Random seed of the run."
    ),
    click.option("--workers", type=int, help="Threads that prepare batches."),
)
search_options = together(
    click.option("--alpha-grad", type=click.Choice(["all", "two-path", "gumbel"])),
    click.option("--lambda", "lambda_", type=float, help="Fix lambda instead of steering it."),
)
mean_options = together(
    click.option(
        "--mean",
        metavar="R,G,B|NAME",
        help="Of the preprocessing, on pixels / 255, if the file states none; or imagenet, tf, "
        "caffe, which set std as well.",
    ),
    click.option("--std", metavar="R,G,B", help="Of the preprocessing, on pixels / 255."),
)
resume_option = click.option("--resume", is_flag=True, help="Continue a run that was stopped.")

DATA = {"data": "adapt.data", "skip_bad": "adapt.skip_bad"}
"""Option of ``data_option`` -> setting."""
BUDGET = {
    "budget": "adapt.budget",
    "budget_of": "adapt.budget_of",
    "latency_table": "adapt.latency_table",
}
"""Option of ``budget_options`` -> setting."""
MEAN = {"mean": "mean", "std": "std"}
"""Option of ``mean_options`` -> key in the section of the stage."""
TRAINING = {
    "epochs": "epochs",
    "batch": "batch_size",
    "lr": "lr",
    "head_lr": "head_lr",
    "device": "device",
    "precision": "precision",
    "random_seed": "random_seed",
    "workers": "workers",
}
"""Option of ``train_options`` and ``device_options`` -> key in the section of the stage."""


TEACHER = {key: key for key in ("teacher", "held_out", "patience", "ema")}
"""Options of ``teacher_options``."""


def in_section(section: str, keys: dict[str, str]) -> dict[str, str]:
    """Return option -> setting for options whose keys are of one section."""
    return {option: f"{section}.{key}" for option, key in keys.items()}
