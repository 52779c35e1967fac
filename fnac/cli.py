"""The command line: reads words, calls a stage, tells what came of it.

Contract: docs/design.md. Results go to stdout, everything else to stderr. Nothing heavy (torch,
onnx, onnxruntime) is imported before a command needs it.
"""

from __future__ import annotations

import errno
import logging
import os
import sys

import click

import fnac
from fnac.commands import adapt, graph, predict, shrink, stages, study
from fnac.text import printable

ORDER = (
    *("adapt", "study", "shrink", "predict"),
    *("export", "expand", "search", "derive", "tune", "emit"),
    *("eval", "report", "inspect", "profile", "verify", "bench", "run-pass"),
)
"""Commands in the order of work: whole jobs, stages, looks at any file."""


class _InOrder(click.Group):
    """Lists its commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in ``ORDER``, then those that it does not name."""
        return sorted(self.commands, key=lambda name: (*ORDER, name).index(name))


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever stderr is now; test runners swap it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record on one line, unless it is a table (``extra={"lines": True}``)."""
        several = bool(record.exc_info) or getattr(record, "lines", False)
        return printable(super().format(record), lines=several)


@click.group(
    cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(fnac.__version__, prog_name="fnac")
@click.option("--debug", is_flag=True, help="Show tracebacks and what every pass does.")
@click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
def cli(debug: bool, quiet: bool) -> None:
    """Adapt a pre-trained CNN (an ONNX file) to a task and a compute budget.

    `fnac adapt --task seg` runs the whole chain; each stage is a command of its own and leaves an
    ONNX file: export, expand, search, derive, tune, emit.
    """
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("fnac")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


for _command in [
    *graph.COMMANDS,
    *stages.COMMANDS,
    *adapt.COMMANDS,
    *predict.COMMANDS,
    *shrink.COMMANDS,
    *study.COMMANDS,
]:
    cli.add_command(_command)


def main() -> None:
    """Run the command line and leave with the exit code of the contract."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code (docs/design.md) and prints the error."""
    from fnac.passes.errors import FnacError

    arguments = in_front(arguments)
    debug = "--debug" in arguments
    try:
        code = cli.main(args=arguments, prog_name="fnac", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.NoSuchOption as error:
        from fnac.commands.unknown_options import what_is_meant

        error.show()
        if meant := what_is_meant(error):
            click.echo(f"fnac: {meant}", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("fnac: interrupted", err=True)
        return 130
    except FnacError as error:
        if debug:
            raise
        click.echo(f"fnac: {printable(str(error), lines=False)}", err=True)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return _bug(error, debug)
        click.echo(f"fnac: {error.strerror}; make room, or write elsewhere", err=True)
        return 2
    except Exception as error:  # the last line of defence: a bug, exit code 1
        return _bug(error, debug)


def in_front(arguments: list[str]) -> list[str]:
    """Return a command line with ``--debug`` and ``--quiet``, wherever they stand, in front."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if word in ("--debug", "--quiet")]
    rest = [word for word in arguments[:end] if word not in options]
    return [*options, *rest, *arguments[end:]]


def _bug(error: Exception, debug: bool) -> int:
    """Report what should not have happened; raises it again with --debug."""
    if debug:
        raise error
    words = printable(" ".join(str(error).split())[:300])
    click.echo(
        f"fnac: unexpected {type(error).__name__}: {words}; this is a bug, please report it "
        "with the output of the same command with `fnac --debug`",
        err=True,
    )
    return 1


if __name__ == "__main__":
    main()
