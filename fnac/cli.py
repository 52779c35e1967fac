"""The command line: parse arguments, call a stage, print the result.

Contract: docs/design.md. Results go to stdout, everything else to stderr. Nothing heavy (torch,
onnx, onnxruntime) is imported before a command needs it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys

import click

import fnac
from fnac.commands import adapt, everyday, graph, predict, shrink, stages, study
from fnac.text import printable

GROUPS = {
    "Before you begin": {
        "list": "names to choose from: tasks, heads, seeds, recipes, ...",
        "data": "what a data set holds, class by class; a sheet of samples",
        "init": "a settings file with every setting explained",
    },
    "Whole jobs": {
        "adapt": "another architecture for a task and a budget, trained",
        "tune": "fine-tune a network or a seed, architecture as it is",
        "shrink": "a cheaper network, without labels and without training",
        "study": "many adaptations by one file, with their table",
    },
    "With the result": {
        "predict": "what a network sees in images of yours",
        "eval": "the metric on a data set",
        "report": "report.html of a run",
        "compare": "runs side by side",
    },
    "Stage by stage": {
        "export": "a known network as a trainable ONNX file",
        "expand": "a seed becomes its super network",
        "search": "train the super network and its alphas",
        "derive": "choose the target within a budget",
        "emit": "the file to deploy: folded, float16, int8",
    },
    "Any ONNX file": {
        "inspect": "blocks and candidates, and what is left alone",
        "profile": "multiply-adds and parameters, node by node",
        "verify": "whether two files compute the same",
        "bench": "latency in onnxruntime",
        "run-pass": "apply passes, each proven",
    },
}
"""Commands in the order of work, each in a few words."""
ORDER = tuple(name for commands in GROUPS.values() for name in commands)
NEEDED_TO_TRAIN = {
    *("torch", "torchvision", "lightning_fabric", "torchmetrics", "faster_coco_eval"),
    *("matplotlib", "safetensors"),
}
"""Modules of packages that requirements-slim.txt leaves out."""
EXAMPLES = """\
  fnac adapt --task seg
  fnac data folder:flowers
  fnac tune bundled --task cls --data folder:flowers
  fnac adapt seed.onnx --task det --data coco:boxes --budget 0.8x
  fnac shrink model.onnx --budget 0.6x --data pictures:photos
  fnac predict runs/seg/model.onnx photos/ -o seen/
"""


class _InOrder(click.Group):
    """Lists its commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in ``ORDER``, then all others."""
        return sorted(self.commands, key=lambda name: (*ORDER, name).index(name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands group by group, then examples."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)
        formatter.write("\nExamples:\n" + EXAMPLES)


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current stderr, which test runners replace; no line twice in a row."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        if (said := record.getMessage()) != self.last:
            self.last = said
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record on one line, unless it is a table (``extra={"lines": True}``).

        A warning says that it is one, on a terminal in colour.
        """
        several = bool(record.exc_info) or getattr(record, "lines", False)
        text = printable(super().format(record), lines=several)
        if record.levelno < logging.WARNING:
            return text
        mark = "warning:"
        if self.stream.isatty():
            mark = click.style(mark, fg="yellow", bold=True)
        return f"{mark} {text}"


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    no_args_is_help=True,
)
@click.option("--version", is_flag=True, help="Show the version and exit; with --json all of them.")
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.option("--debug", is_flag=True, help="Show tracebacks and what every pass does.")
@click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.pass_context
def cli(context: click.Context, version: bool, as_json: bool, debug: bool, quiet: bool) -> None:
    """Adapt a pre-trained CNN (an ONNX file) to a task and a compute budget.

    `fnac adapt --task seg` runs the whole chain; each stage is a command of its own and leaves an
    ONNX file: export, expand, search, derive, tune, emit.
    """
    if version:
        _tell_version(as_json)
        context.exit()
    if as_json:
        context.fail("--json goes after the command (or with --version)")
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    handler = _ToStderr()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("fnac")
    log.handlers[:] = [handler]
    log.setLevel(min(level, logging.INFO))  # run.log has it all, however quiet the terminal is
    log.propagate = False


def _tell_version(as_json: bool) -> None:
    if not as_json:
        click.echo(f"fnac, version {fnac.__version__}")
        return
    from fnac.adaptation.folder import environment

    click.echo(json.dumps({k: v for k, v in environment().items() if k != "command"}))


for _command in [
    *everyday.COMMANDS,
    *graph.COMMANDS,
    *stages.COMMANDS,
    *adapt.COMMANDS,
    *predict.COMMANDS,
    *shrink.COMMANDS,
    *study.COMMANDS,
]:
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit with the documented exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code (docs/design.md) and prints the error."""
    from fnac.adaptation.history import working_on
    from fnac.passes.errors import FnacError

    arguments = in_front(arguments)
    debug = "--debug" in arguments
    try:
        with working_on(arguments):
            code = cli.main(args=arguments, prog_name="fnac", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.NoSuchOption as error:
        from fnac.commands.unknown_options import what_is_meant

        _refuse(error, what_is_meant(error))
        return 2
    except click.ClickException as error:
        _refuse(error)
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
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if debug or package not in NEEDED_TO_TRAIN:
            return _bug(error, debug)
        click.echo(
            f"fnac: {package} is not installed, and this command needs it; "
            "`pip install fnac` without --no-deps installs everything",
            err=True,
        )
        return 2
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return _bug(error, debug)
        click.echo(f"fnac: {error.strerror}; make room, or write elsewhere", err=True)
        return 2
    except Exception as error:  # the last line of defence: a bug, exit code 1
        return _bug(error, debug)


def in_front(arguments: list[str]) -> list[str]:
    """Return a command line with ``--debug`` and ``--quiet`` moved to the front."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if word in ("--debug", "--quiet")]
    rest = [word for word in arguments[:end] if word not in options]
    return [*options, *rest, *arguments[end:]]


def _refuse(error: click.ClickException, meant: str | None = None) -> None:
    """Say in one line what is wrong with a command line, and where its options are listed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "fnac"
    words = error.format_message() if meant is None else f"{error.message} {meant}"
    words = printable(" ".join(words.split()).rstrip("."), lines=False)
    click.echo(f"fnac: {words}; {path} --help lists what there is", err=True)


def _bug(error: Exception, debug: bool) -> int:
    """Report an unexpected error; raise it again with --debug."""
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
