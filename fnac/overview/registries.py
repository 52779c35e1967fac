"""Lists of everything with a name: tasks, heads, seeds, spaces, recipes, passes, and so on.

Each list is read from the registry that the compiler itself looks names up in.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from fnac.text import table


@dataclass(frozen=True)
class Named:
    """Something that can be named.

    tasks  the tasks that it is for; (): any
    what   one sentence
    """

    name: str
    what: str
    tasks: tuple[str, ...] = ()


def _tasks() -> list[Named]:
    from fnac.models.heads.kinds import DEFAULT_HEADS
    from fnac.names import TASK_MEANINGS

    return [
        Named(task, f"{meaning}; head: {DEFAULT_HEADS[task]}")
        for task, meaning in TASK_MEANINGS.items()
    ]


def _heads() -> list[Named]:
    from fnac.models.heads.kinds import DEFAULT_HEADS, HEADS

    heads = []
    for kind in HEADS.values():
        taps = ", ".join(kind.taps)
        default = "; taken when none is named" if DEFAULT_HEADS[kind.task] == kind.name else ""
        heads.append(Named(kind.name, f"reads {taps} of the backbone{default}", (kind.task,)))
    own = "the head that the file has; its last layer is replaced for the new classes"
    return [*heads, Named("own", own, ("seg", "pose", "cls"))]


def _seeds() -> list[Named]:
    from fnac.models.seeds.seed_names import MEANINGS

    return [
        *(Named(name, what) for name, what in MEANINGS.items()),
        Named("timm:NAME", "any classifier of timm, where that is installed"),
        Named("torchvision:NAME", "any classifier of torchvision, and its segmentation networks"),
        Named("FILE.onnx", "a CNN that you have as an ONNX file"),
    ]


def _spaces() -> list[Named]:
    from fnac.models.spaces import load_space, space_names

    auto = "the one for the network's blocks and the task"
    named = [Named("auto", auto)]
    for name in space_names():
        space = load_space(name)
        count = len(space.candidates) + space.skip
        named.append(Named(name, f"{space.description}: {count} candidates a layer"))
    return named


def _recipes() -> list[Named]:
    from fnac.models.recipes import load_recipe, recipe_names, recipe_path

    named = []
    for name in recipe_names():
        recipe = load_recipe(name)
        task = (recipe.get("expand") or {}).get("task") or (recipe.get("adapt") or {}).get("task")
        text = recipe_path(name).read_text(encoding="utf-8")
        named.append(Named(name, _first_sentence(text), (str(task),) if task else ()))
    return [*named, Named("none", "the settings' own defaults")]


def _passes() -> list[Named]:
    from fnac.passes.registry import PASSES, resolve

    named = []
    for name in sorted(PASSES):
        kind = resolve(name)
        if isinstance(kind, tuple):
            what = "a pipeline: " + ", ".join(one.name for one in kind)
        else:
            what = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
        named.append(Named(name, what))
    return named


def _strategies() -> list[Named]:
    from fnac.adaptation.strategies import MEANINGS

    return [Named(name, what) for name, what in MEANINGS.items()]


def _readers() -> list[Named]:
    from fnac.data.readers.names import MEANINGS, PICTURES, TASKS_OF

    unlabelled = "images without labels: to calibrate on, shrink and heal"
    return [
        *(Named(name, MEANINGS[name], tasks) for name, tasks in TASKS_OF.items()),
        Named(PICTURES.rstrip(":"), unlabelled),
    ]


KINDS: dict[str, Callable[[], list[Named]]] = {
    "tasks": _tasks,
    "heads": _heads,
    "seeds": _seeds,
    "spaces": _spaces,
    "recipes": _recipes,
    "passes": _passes,
    "strategies": _strategies,
    "readers": _readers,
}
"""What can be listed -> what reads the registry."""
USE = {
    "tasks": "--task NAME",
    "heads": "--head NAME",
    "seeds": "fnac adapt NAME, fnac export NAME",
    "spaces": "--space NAME",
    "recipes": "--recipe NAME",
    "passes": "fnac run-pass NAME MODEL.onnx -o OUT.onnx",
    "strategies": "--strategy NAME",
    "readers": "--data NAME:PATH",
}
"""Kind -> how a name of it is given."""


def named(kind: str) -> list[Named]:
    """Return everything of a kind, in the registry's order."""
    return KINDS[kind]()


def as_text(kind: str, entries: list[Named]) -> str:
    """Return the table that ``fnac list`` prints, and how a name is given."""
    tasks = any(entry.tasks for entry in entries)
    head = ["name", *(["for"] if tasks else []), "what"]
    rows = [
        [entry.name, *([", ".join(entry.tasks)] if tasks else []), entry.what] for entry in entries
    ]
    return f"{table(head, rows)}\n\ngiven as {USE[kind]}"


def _first_sentence(text: str) -> str:
    """Return the first sentence of the comment that a file begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    whole = " ".join(lines)
    return re.split(r"(?<=[a-z0-9)])\. ", whole, maxsplit=1)[0].rstrip(".")
