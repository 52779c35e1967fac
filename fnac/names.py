"""One resolver for every name that a user writes, with suggestions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fnac.errors import UsageError
from fnac.passes.names import did_you_mean

TASKS = ("seg", "det", "pose", "cls")
TASK_MEANINGS = {
    "seg": "semantic segmentation: a class for each pixel",
    "det": "object detection: boxes with class and score",
    "pose": "human pose: the joints of one person",
    "cls": "classification: one class for the whole image",
}
TASK_ALIASES = {
    **dict.fromkeys(("segment", "segmentation", "semantic", "semantic-segmentation"), "seg"),
    **dict.fromkeys(("detect", "detection", "object-detection", "boxes"), "det"),
    **dict.fromkeys(("keypoint", "keypoints", "pose-estimation", "joints"), "pose"),
    **dict.fromkeys(("classify", "classification", "classifier"), "cls"),
}
"""What tasks are called elsewhere -> what they are called here."""
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
PRECISION_ALIASES = {
    **dict.fromkeys(("fp32", "float32", "32-true", "single"), "32"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16-mixed"),
    **dict.fromkeys(("fp16", "float16", "16", "half", "amp", "mixed"), "16-mixed"),
}
"""What precisions are called elsewhere -> what they are called here."""


def known_name(where: str, name: str, known: Collection[str], *, also: str = "") -> str:
    """Return ``name`` if it is known; UsageError suggests the closest one and lists all.

    where  option or setting that says it; also: what else it may be, as ``, or a YAML file``
    """
    if name in known:
        return name
    raise UsageError(
        f"{where} {name}: no such name{did_you_mean(name, known)}; known: "
        f"{', '.join(map(str, known))}{also}"
    )


def task_name(name: str, where: str = "--task") -> str:
    """Return the task that ``name`` means, under any of its usual names."""
    return _meant(name, TASKS, TASK_ALIASES, where)


def precision_name(name: str, where: str = "--precision") -> str:
    """Return the precision that ``name`` means, under any of its usual names."""
    return _meant(name, PRECISIONS, PRECISION_ALIASES, where)


def _meant(name: str, known: Collection[str], aliases: Mapping[str, str], where: str) -> str:
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    if plain in aliases:
        return aliases[plain]
    if (
        plain not in known
        and not did_you_mean(plain, known)
        and (other := did_you_mean(plain, aliases))
    ):
        raise UsageError(f"{where} {name}: no such name{other}; known: {', '.join(known)}")
    return known_name(where, plain, known)
