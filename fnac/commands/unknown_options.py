"""Suggest the setting or option that an unknown option probably means."""

from __future__ import annotations

import dataclasses
import typing

import click

OTHERS = {
    **dict.fromkeys(("name", "project", "output", "run", "save-dir"), "-o FOLDER"),
    **dict.fromkeys(("imgsz", "img-size", "image-size", "input-size"), "--size HxW"),
    **dict.fromkeys(("model", "weights", "backbone"), "the first argument: SEED.onnx or a name"),
    "seed": "the first argument, or --random-seed N",
    "batch-size": "--batch N",
    "dataset": "--data SPEC",
}
"""Options of other tools -> what is meant here."""
ORDER = ("tune", "search", "adapt", "expand", "derive", "emit", "eval", "shrink")
"""Sections by how likely a setting of them is meant."""


def what_is_meant(error: click.NoSuchOption) -> str | None:
    """Say what an unknown option probably means; None if nothing matches."""
    name = error.option_name.lstrip("-").partition("=")[0]
    command = error.ctx.command if error.ctx is not None else None
    options = {o for p in getattr(command, "params", []) for o in p.opts}
    key = name.replace("-", "_")
    read = getattr(getattr(command, "callback", None), "sections", ())
    for section in sorted(read, key=lambda one: ORDER.index(one) if one in ORDER else len(ORDER)):
        if key in _keys_of(section):
            return f"{error.option_name}: it is a setting here: --set {section}.{key}=VALUE"
    other = OTHERS.get(name)
    if other is None or (other.startswith("--") and other.split()[0] not in options):
        return None
    return f"{error.option_name}: here it is {other}"


def _keys_of(section: str) -> set[str]:
    """Return the settings of a section."""
    from fnac.adaptation.plan import Plan

    kind = typing.get_type_hints(Plan).get(section)
    if not dataclasses.is_dataclass(kind):  # section task: its settings depend on the task
        return set()
    return {field.name for field in dataclasses.fields(kind)}
