"""Every setting with its type, its default and its meaning, read from the settings classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

from fnac.adaptation.settings import AdaptSettings, EvalSettings
from fnac.search.settings import SearchSettings
from fnac.stages.derive import DeriveSettings
from fnac.stages.emit import EmitSettings
from fnac.stages.expand import ExpandSettings
from fnac.stages.exporting.settings import ExportSettings
from fnac.stages.heal_settings import HealSettings
from fnac.stages.shrinking.settings import ShrinkSettings
from fnac.stages.tune_settings import TuneSettings
from fnac.tasks import settings_kind

SECTION_KINDS: dict[str, type[Any]] = {
    "adapt": AdaptSettings,
    "export": ExportSettings,
    "expand": ExpandSettings,
    "search": SearchSettings,
    "derive": DeriveSettings,
    "tune": TuneSettings,
    "heal": HealSettings,
    "shrink": ShrinkSettings,
    "emit": EmitSettings,
    "eval": EvalSettings,
}
"""Section -> the class that it fills; section ``task`` depends on the task."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: its key, type and default as in the source, and its meaning."""

    key: str
    annotation: str
    default: str
    meaning: str


def section_kind(section: str, task: str) -> type[Any]:
    """Return the settings class of a section, for a task."""
    return settings_kind(task) if section == "task" else SECTION_KINDS[section]


def settings_of(kind: type[Any]) -> list[Setting]:
    """Return the settings of a class: its own first, then those that it shares with others."""
    rows: dict[str, Setting] = {}
    for base in kind.__mro__:
        if dataclasses.is_dataclass(base):
            for setting in _own_settings(base):
                rows.setdefault(setting.key, setting)
    return list(rows.values())


def _own_settings(kind: type[Any]) -> list[Setting]:
    """Read the settings that a class itself defines from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (body,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    told = meanings(ast.get_docstring(body) or "")
    settings = []
    for here, after in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        annotation = ast.unparse(here.annotation)
        if annotation.startswith("ClassVar"):
            continue
        meaning = told.get(here.target.id, "")
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = str(after.value.value)
        default = "" if here.value is None else ast.unparse(here.value)
        settings.append(Setting(here.target.id, annotation, default, meaning))
    return settings


def meanings(docstring: str) -> dict[str, str]:
    """Read the lines ``name  meaning`` (names may be in double backticks, two with a comma)."""
    told: dict[str, str] = {}
    last: list[str] = []
    for line in docstring.splitlines()[1:]:
        match = re.match(r"^((?:`{0,2}\w+`{0,2}(?:, )?)+)\s{1,}(\S.*)$", line)
        if match and (line.startswith("``") or re.match(r"^\w+\s{2,}", line)):
            last = re.findall(r"\w+", match[1])
            for name in last:
                told[name] = match[2].strip()
        elif line.startswith("    ") and last:
            for name in last:
                told[name] += " " + line.strip()
        else:
            last = []
    return told
