"""Options and printing that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

Size = tuple[int, int]


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2
    """``HxW`` in pixels."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Size | None:
        """Read the size; raises UsageError."""
        from fnac.config import parse_size

        return value if isinstance(value, tuple) or value is None else parse_size(value)


model_argument = click.argument("model", type=click.Path(path_type=Path))
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else."
)
size_option = click.option("--size", type=SizeType(), help="Input size of the images.")
no_verify_option = click.option(
    "--no-verify", is_flag=True, help="Skip the proof after every pass (not recommended)."
)
dump_option = click.option(
    "--dump-passes",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the graph after each pass into this folder.",
)


def configured(function: F) -> F:
    """Add ``--config FILE`` and ``--set section.key=value``."""
    function = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Set anything, e.g. --set tune.epochs=12; may be repeated.",
    )(function)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="YAML file of settings, one mapping a stage.",
    )(function)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(value))
