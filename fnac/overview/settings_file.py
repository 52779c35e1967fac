"""A settings file to begin with, every setting explained; and the settings of a command."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from fnac.adaptation.plan import SECTIONS, Plan
from fnac.adaptation.settings import with_recipe
from fnac.config import Config, as_plain, as_yaml, read
from fnac.models.yaml_text import dump_yaml
from fnac.overview.settings_table import section_kind, settings_of

WIDTH = 96
HEAD = """\
# Settings of fnac. Lines that begin with "##" explain; take the "#" away in front of a setting to
# change it. Whatever is not set keeps its default, shown here, or is what a recipe says.
#
#     fnac adapt --config {name}
#
# Later wins: recipe, this file, --set section.key=value, option.
"""


def commented_yaml(given: Config, task: str, name: str) -> str:
    """Return a settings file: every setting with its meaning and default, commented out.

    given  settings that stand in it as they are, without the comment sign
    name   what the file will be called
    """
    parts = [HEAD.format(name=name)]
    for section in SECTIONS:
        lines = [f"{section}:"]
        values = {**given.get(section, {})}
        kind = section_kind(section, task)
        defaults = as_plain(kind())
        for setting in settings_of(kind):
            lines += [f"  ## {line}" for line in _wrapped(setting.meaning)]
            if setting.key in values:
                lines.append(f"  {setting.key}: {_flow(values.pop(setting.key))}")
            else:
                lines.append(f"  # {setting.key}: {_flow(defaults[setting.key])}")
        lines += [f"  {key}: {_flow(value)}" for key, value in values.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def plan_yaml(config: Config, recipe: str | None) -> str:
    """Return all settings of an adaptation, as its ``config.yaml`` will have them.

    Raises what a run's plan raises: the data set is opened for its classes.
    """
    return as_yaml(Plan.of(with_recipe(config, recipe)).written()).decode()


def sections_yaml(config: Config, sections: Sequence[str], keys: Collection[str]) -> str:
    """Return the settings in the ``sections`` that a command reads, with their defaults.

    keys  ``adapt.data``: what of section ``adapt`` the command has an option for
    """
    task = str(config.get("adapt", {}).get("task") or "seg")
    told: dict[str, Any] = {}
    for section in sections:
        kind = section_kind(section, task)
        values = as_plain(read(kind, config))
        if section == "adapt":
            values = {key: value for key, value in values.items() if f"adapt.{key}" in keys}
        if values:
            told[section] = values
    return as_yaml(told).decode()


def _wrapped(meaning: str) -> list[str]:
    plain = re.sub(r"``?([^`]*)``?", r"\1", meaning)
    return textwrap.wrap(plain, WIDTH - 5)


def _flow(value: Any) -> str:
    text = dump_yaml(as_plain(value), in_line=True)
    return text.strip().removesuffix("...").strip()
