"""Write docs/settings.md and docs/passes.md from the code: `python docs/make_pages.py`."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = {
    "adapt": [("fnac/adaptation/settings.py", "AdaptSettings")],
    "export": [("fnac/stages/exporting/settings.py", "ExportSettings")],
    "expand": [("fnac/stages/expand.py", "ExpandSettings")],
    "search": [
        ("fnac/search/settings.py", "SearchSettings"),
        ("fnac/training/settings.py", "TeacherSettings"),
        ("fnac/training/settings.py", "OptimizerSettings"),
        ("fnac/data/batches.py", "BatchSettings"),
        ("fnac/training/settings.py", "RuntimeSettings"),
    ],
    "derive": [("fnac/stages/derive.py", "DeriveSettings")],
    "tune": [
        ("fnac/stages/tune_settings.py", "TuneSettings"),
        ("fnac/training/settings.py", "TeacherSettings"),
        ("fnac/training/settings.py", "KeptSettings"),
        ("fnac/training/settings.py", "OptimizerSettings"),
        ("fnac/data/batches.py", "BatchSettings"),
        ("fnac/training/settings.py", "RuntimeSettings"),
    ],
    "heal": [
        ("fnac/stages/heal_settings.py", "HealSettings"),
        ("fnac/training/settings.py", "KeptSettings"),
        ("fnac/training/settings.py", "OptimizerSettings"),
        ("fnac/data/batches.py", "BatchSettings"),
        ("fnac/training/settings.py", "RuntimeSettings"),
    ],
    "shrink": [("fnac/stages/shrinking/settings.py", "ShrinkSettings")],
    "emit": [
        ("fnac/stages/emit.py", "EmitSettings"),
        ("passes/emit/detector_answers.py", "DetectorAnswers"),
    ],
    "task (det)": [
        ("fnac/tasks/settings.py", "DetectionSettings"),
        ("passes/emit/detector_answers.py", "DetectorAnswers"),
    ],
    "eval": [("fnac/adaptation/settings.py", "EvalSettings")],
    "task (pose)": [("fnac/tasks/settings.py", "PoseSettings")],
    "task (cls)": [("fnac/tasks/settings.py", "ClassificationSettings")],
}
HEAD = """# Settings

Every setting by section. Give them in a YAML file (`--config FILE`, one mapping a section), on the command
line (`--set section.key=value`), or as an option where there is one. Later wins: recipe, file, `--set`,
option. The resolved settings of a run are in its `config.yaml`. This page is written by
`docs/make_pages.py` from the code.
"""


PASSES_HEAD = """# Passes

A pass takes a complete runnable network and leaves one. It declares what it keeps (the interface, the
outputs, or neither), reports every node it rewrote or left (and why), and what became of the weights. The
manager holds it to its word after every run. None matches on tensor names.

```sh
fnac run-pass 'normalize,widen-kernel{kernel=7},clean' in.onnx -o out.onnx --dump-passes steps/
```

Lists are written `3+5+7`. A new pass is a frozen dataclass in a file of its own under `passes/`: see
`passes/grow/widen_kernel.py` and its test; add its name to `passes/registry.py`. This page is written by
`docs/make_pages.py` from the code.
"""


def fields(file: str, name: str) -> list[tuple[str, str, str, str]]:
    """Return (field, type, default, meaning) of a settings class, read from its source."""
    tree = ast.parse((ROOT / file).read_text())
    kind = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    told = meanings(ast.get_docstring(kind) or "")
    rows = []
    for here, after in zip(kind.body, [*kind.body[1:], ast.Pass()], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        if ast.unparse(here.annotation).startswith("ClassVar"):
            continue
        meaning = told.get(here.target.id, "")
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = str(after.value.value)
        default = "" if here.value is None else ast.unparse(here.value)
        rows.append((here.target.id, ast.unparse(here.annotation), default, meaning))
    return rows


def meanings(docstring: str) -> dict[str, str]:
    """Read the lines ``name  meaning`` (names may be in double backticks, two with a comma)."""
    found: dict[str, str] = {}
    last: list[str] = []
    for line in docstring.splitlines()[1:]:
        match = re.match(r"^((?:`{0,2}\w+`{0,2}(?:, )?)+)\s{1,}(\S.*)$", line)
        if match and (line.startswith("``") or re.match(r"^\w+\s{2,}", line)):
            last = re.findall(r"\w+", match[1])
            for name in last:
                found[name] = match[2].strip()
        elif line.startswith("    ") and last:
            for name in last:
                found[name] += " " + line.strip()
        else:
            last = []
    return found


def settings_page() -> str:
    """Return docs/settings.md."""
    lines = [HEAD]
    for section, kinds in SECTIONS.items():
        lines += [f"## {section}", "", "| key | default | meaning |", "|---|---|---|"]
        seen = set()
        for file, name in kinds:
            for key, annotation, default, meaning in fields(file, name):
                if key in seen:
                    continue
                seen.add(key)
                shown = annotation.replace("|", "\\|")
                lines.append(f"| `{key}`: {shown} | `{default}` | {meaning} |")
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
