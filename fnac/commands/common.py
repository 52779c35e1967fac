"""What commands share: settings from file, ``--set`` and options, and printing of results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from fnac.commands.types import UserPath
from fnac.text import printable

if TYPE_CHECKING:
    from fnac.config import Config
    from fnac.errors import FnacError

F = TypeVar("F", bound=Callable[..., Any])


class Told(Protocol):
    """What a command may return: printable for programs and for people."""

    def as_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        ...

    def as_text(self) -> str:
        """Return lines for people."""
        ...


@dataclasses.dataclass(frozen=True)
class Answer:
    """A result in both forms; ``error`` is raised after it is printed (or instead of it)."""

    json: Mapping[str, Any]
    text: str
    error: FnacError | None = None


def examples(*lines: str) -> str:
    """Return the epilog of a command: command lines that can be copied."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def configured(*uses: str, **targets: str) -> Callable[[F], F]:
    """Add ``--config FILE`` and ``--set``; hand the command all its settings as ``config``.

    uses     sections that the command reads beside those of its options: what is ``--set`` in
             another section is refused; a file may be of several commands
    targets  option -> ``section.key`` of the setting it is, several with blanks between them; one
             that the command has a parameter for is handed on as well
    """

    def add(function: F) -> F:
        handed_on = inspect.signature(function).parameters
        keys = [setting for settings in targets.values() for setting in settings.split()]
        read = dict.fromkeys([*(key.partition(".")[0] for key in keys), *uses])

        @functools.wraps(function)
        def command(
            *arguments: Any,
            config_file: Path | None,
            assignments: tuple[str, ...],
            print_config: bool = False,
            **options: Any,
        ) -> Any:
            from fnac.config import gather

            said: Config = {}
            for option, settings in targets.items():
                value = options[option] if option in handed_on else options.pop(option)
                for setting in settings.split():
                    section, _, key = setting.partition(".")
                    said.setdefault(section, {})[key] = value
            config = gather(file=config_file, assignments=assignments, options=said)
            _refuse_unused(assignments, list(read))
            _check_early(config, list(read))
            if print_config:
                return _print_settings(config, list(read), keys, options)
            return function(*arguments, config=config, **options)

        command.sections = tuple(read)  # type: ignore[attr-defined]
        shown = print_config_option(command) if read else command
        return config_options(shown)  # type: ignore[return-value]

    return add


print_config_option = click.option(
    "--print-config", is_flag=True, help="Print the resolved settings and stop."
)


def _print_settings(
    config: Config, sections: Sequence[str], keys: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Print settings as YAML: of a whole adaptation, or in the sections that a command reads."""
    from fnac.adaptation.settings import with_recipe
    from fnac.overview.settings_file import plan_yaml, sections_yaml

    recipe = options.get("recipe")
    if "dry_run" in options:  # adapt, whose config.yaml this is
        text = plan_yaml(config, recipe)
    else:
        settled = config if recipe is None else with_recipe(config, recipe)
        text = sections_yaml(settled, sections, keys)
    click.echo(text, nl=False)


def _refuse_unused(assignments: Sequence[str], sections: Sequence[str]) -> None:
    from fnac.config import parse_assignment
    from fnac.errors import UsageError

    for text in assignments:
        section = parse_assignment(text)[0]
        if section not in sections:
            known = f"it reads {', '.join(sections)}" if sections else "it has no settings"
            raise UsageError(f"--set {text}: this command does not read section {section}; {known}")


def _check_early(config: Config, sections: Sequence[str]) -> None:
    """Refuse a value of a wrong type, or a reader that does not exist, before torch is loaded."""
    from fnac.config import OPTIONS_ONLY, converted

    # section task depends on what the file states
    given = [one for one in sections if config.get(one) and one not in (*OPTIONS_ONLY, "task")]
    task = config.get("adapt", {}).get("task") or "seg"
    if given:
        from fnac.overview.settings_table import SECTION_KINDS

        for section in given:
            converted(SECTION_KINDS[section], config[section], section)
    data = config.get("adapt", {}).get("data")
    if isinstance(data, str):
        from fnac.data.readers.names import PICTURES, check_reader

        if not data.startswith(PICTURES):
            check_reader(data, task)


def config_options(function: F) -> F:
    """Add the options ``--config`` and ``--set``."""
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
        type=UserPath(dir_okay=False),
        help="YAML file of settings, one mapping per stage.",
    )(function)


def printed(function: F) -> F:
    """Add ``--json``; print what the command returns, as one JSON object or for people.

    It returns an :class:`Answer`, an object with ``as_json`` and ``as_text``, pairs of names and
    values, or None (another process of a distributed run speaks).
    """

    @click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else."
    )
    @functools.wraps(function)
    def command(*arguments: Any, as_json: bool, **options: Any) -> None:
        from fnac.adaptation.history import without_hints

        with without_hints() if as_json else contextlib.nullcontext():
            told: Answer | Told | dict[str, Any] | None = function(*arguments, **options)
        if told is None:
            return
        if isinstance(told, dict):
            told = Answer(told, pairs(told))
        if not isinstance(told, Answer):
            told = Answer(told.as_json(), "" if as_json else told.as_text())
        if as_json:
            click.echo(json.dumps(told.json))
            if told.error is not None:
                raise click.exceptions.Exit(told.error.exit_code)
            return
        if told.error is not None:
            raise told.error
        click.echo(printable(told.text))

    return command  # type: ignore[return-value]


def pairs(values: Mapping[str, Any]) -> str:
    """Format names and values for people: one line per value, one line per list item."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, list):
            lines += [printable(f"{key}: {item}", lines=False) for item in value]
        elif value is not None:
            line = f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}"
            lines.append(printable(line, lines=False))
    return "\n".join(lines)


def keep_original(out: Path, model: Path) -> None:
    """Raise UsageError where ``out`` is the file of the network that the command reads."""
    from fnac.errors import UsageError

    if out.exists() and model.exists() and out.samefile(model):
        raise UsageError(f"--out {out}: that is MODEL itself, which would be lost; name another")
