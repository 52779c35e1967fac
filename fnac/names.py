"""One resolver for every name that a user writes: what is meant, or what there is."""

from __future__ import annotations

from collections.abc import Collection

from fnac.errors import UsageError
from fnac.passes.names import did_you_mean

TASKS = ("seg", "det", "pose", "cls")
TASK_ALIASES = {
    **dict.fromkeys(("segment", "segmentation", "semantic", "semantic-segmentation"), "seg"),
    **dict.fromkeys(("detect", "detection", "object-detection", "boxes"), "det"),
    **dict.fromkeys(("keypoint", "keypoints", "pose-estimation", "joints"), "pose"),
    **dict.fromkeys(("classify", "classification", "classifier"), "cls"),
}
"""What tasks are called elsewhere -> what they are called here."""


def known_name(where: str, name: str, known: Collection[str], *, also: str = "") -> str:
    """Return ``name`` if it is known; UsageError with the closest one, and all there are.

    where  option or setting that says it; also: what else it may be, as ``, or a YAML file``
    """
    if name in known:
        return name
    raise UsageError(
        f"{where} {name}: no such name{did_you_mean(name, known)}; known: "
        f"{', '.join(map(str, known))}{also}"
    )


def task_name(name: str, where: str = "--task") -> str:
    """Return the task that is meant by ``name``, by whatever name it usually goes."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    if plain not in TASK_ALIASES:
        return known_name(where, plain, TASKS)
    return TASK_ALIASES[plain]
