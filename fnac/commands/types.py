"""Argument types: sizes, names as people write them, paths with ``~``. Imports click only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

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


class TaskType(click.ParamType):  # type: ignore[type-arg]
    """A task, under any of its usual names."""

    name = "task"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what ``--help`` shows."""
        return "[seg|det|pose|cls]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | None:
        """Return the task; raises UsageError."""
        from fnac.names import task_name

        return None if value is None else task_name(str(value))


class PrecisionType(click.ParamType):  # type: ignore[type-arg]
    """Precision of training, under any of its usual names."""

    name = "precision"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what ``--help`` shows."""
        return "[32|bf16-mixed|16-mixed]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | None:
        """Return the precision; raises UsageError."""
        from fnac.names import precision_name

        return None if value is None else precision_name(str(value))


class UserPath(click.Path):
    """A path in which ``~`` is the user's home, even if the shell did not expand it."""

    def __init__(self, **how: Any) -> None:
        super().__init__(path_type=Path, **how)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path."""
        return Path(os.fsdecode(super().convert(value, param, ctx))).expanduser()


class ModelPath(UserPath):
    """An ONNX file; a folder stands for its model.onnx, its target.onnx, or its only file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path."""
        from fnac.errors import UsageError
        from fnac.models.seeds.seed_names import parse_seed_name
        from fnac.passes.files import model_file

        path = super().convert(value, param, ctx)
        if not path.exists() and parse_seed_name(str(value)) is not None:
            raise UsageError(
                f"{value}: the name of a seed, where an ONNX file is wanted; write it first: "
                f"fnac export {value} -o {path.name}.onnx"
            )
        return model_file(path)


class SeedType(ModelPath):
    """An ONNX file (or its folder), or the name of a seed: ``bundled``, ``timm:NAME``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path; a name stays text."""
        from fnac.stages.exporting.settings import is_model_file

        return super().convert(value, param, ctx) if is_model_file(str(value)) else str(value)
