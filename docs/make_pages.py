"""Write docs/settings.md and docs/passes.md from the code: `python docs/make_pages.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

from fnac.overview.settings_table import Setting, section_kind, settings_of

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = (
    *("adapt", "export", "expand", "search", "derive", "tune", "heal", "shrink", "emit"),
    *("task (det)", "eval", "task (pose)", "task (cls)"),
)
HEAD = """# Settings

Every setting by section. Give them in a YAML file (`--config FILE`, one mapping a section), on the command
line (`--set section.key=value`), or as an option where there is one. Later wins: recipe, file, `--set`,
option. The resolved settings of a run are in its `config.yaml`. This page is written by
`docs/make_pages.py` from the code.
"""


PASSES_HEAD = """# Passes

A pass takes a complete runnable network and produces one. It declares what it keeps (the interface, the
outputs, or neither), and reports every node that it rewrote or left (and why) and what happened to the
weights. The manager checks the declaration after every run. No pass matches on tensor names.

```sh
fnac run-pass 'normalize,widen-kernel{kernel=7},clean' in.onnx -o out.onnx --dump-passes steps/
```

Lists are written `3+5+7`. A new pass is a frozen dataclass in a file of its own under `passes/`: see
`passes/grow/widen_kernel.py` and its test; add its name to `passes/registry.py`. This page is written by
`docs/make_pages.py` from the code.
"""


def settings(section: str) -> list[Setting]:
    """Return the settings of a section; ``task (det)`` is that of a task."""
    name, _, task = section.rstrip(")").partition(" (")
    return settings_of(section_kind(name, task))


def settings_page() -> str:
    """Return docs/settings.md."""
    lines = [HEAD]
    for section in SECTIONS:
        lines += [f"## {section}", "", "| key | default | meaning |", "|---|---|---|"]
        for one in settings(section):
            shown = one.annotation.replace("|", "\\|")
            lines.append(f"| `{one.key}`: {shown} | `{one.default}` | {one.meaning} |")
        lines.append("")
    return "\n".join(lines)


def passes_page() -> str:
    """Return docs/passes.md."""
    from fnac.passes.registry import PASSES, resolve

    lines = [PASSES_HEAD]
    for name in sorted(PASSES):
        found = resolve(name)
        lines += [f"## {name}", ""]
        if isinstance(found, tuple):
            lines += ["A pipeline: " + ", ".join(f"`{one.name}`" for one in found) + ".", ""]
            continue
        lines += ["```", inspect.getdoc(found) or "", "```", ""]
    return "\n".join(lines)


COMMANDS_HEAD = """# Commands

Every command takes `--config FILE` (YAML) and `--set section.key=value`; `fnac --debug COMMAND` shows more. Exit
codes are in [How fnac works](design.md). This page is written by `docs/make_pages.py` from the code.

For a new project, run `fnac list`, `fnac data SPEC`, `fnac init` and `fnac adapt` in this order. `--print-config` prints
the settings of a command, `fnac --version --json` the versions and devices it runs on. For shell completion of commands
and options, add one line to the shell's start-up file:

```sh
eval "$(_FNAC_COMPLETE=bash_source fnac)"              # bash; zsh_source in ~/.zshrc
_FNAC_COMPLETE=fish_source fnac | source                # fish
```
"""


def commands_page() -> str:
    """Return docs/commands.md."""
    import click

    from fnac.cli import cli

    lines = [COMMANDS_HEAD]
    with click.Context(cli, info_name="fnac") as parent:
        for name in cli.list_commands(parent):
            command = cli.get_command(parent, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
            lines += [f"## {name}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(commands_page())
    (ROOT / "docs" / "settings.md").write_text(settings_page())
    (ROOT / "docs" / "passes.md").write_text(passes_page())
