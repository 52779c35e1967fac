"""The heads: their tasks, inputs and outputs. Data only, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ModelError

Dims = list[int | str]


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    ``taps``     the tensors of a backbone it reads, in the order of its inputs (passes/heads)
    ``image``    it reads the image, too, to come back to its size
    ``dense``    it wants a dilated backbone: an output stride may be chosen
    ``strides``  output stride of each tap; 0: whatever it is
    """

    name: str
    task: str
    taps: tuple[str, ...]
    strides: tuple[int, ...]
    image: bool = False
    dense: bool = False

    def outputs(self, num_classes: int) -> dict[str, Dims]:
        """Return the outputs and their dimensions for this number of classes (joints)."""
        match self.task:
            case "seg":
                return {"logits": ["batch", num_classes, "height", "width"]}
            case "det":
                columns = num_classes + (1 if self.name == "ssdlite" else 0)  # its background
                return {
                    "class_logits": ["batch", "anchors", columns],
                    "box_deltas": ["batch", "anchors", 4],
                }
            case "pose":
                return {"heatmaps": ["batch", num_classes, "map_height", "map_width"]}
            case _:
                return {"logits": ["batch", num_classes]}


_KINDS = (
    HeadKind("deeplabv3", "seg", ("features",), (0,), image=True, dense=True),
    HeadKind("deeplabv3plus", "seg", ("features", "c2"), (0, 4), image=True, dense=True),
    HeadKind("retinanet", "det", ("c3", "c4", "c5"), (8, 16, 32)),
    HeadKind("ssdlite", "det", ("expansion", "last"), (16, 32)),
    HeadKind("simplebaseline", "pose", ("features",), (32,)),
    HeadKind("linear", "cls", ("last",), (0,)),
)
HEADS: dict[str, HeadKind] = {kind.name: kind for kind in _KINDS}
DEFAULT_HEADS = {
    "seg": "deeplabv3",
    "det": "retinanet",
    "pose": "simplebaseline",
    "cls": "linear",
}
"""Task -> the head taken when none is named."""


def find_head(name: str | None, task: str) -> HeadKind:
    """Return the head called ``name``, or the task's own; ModelError if it is for another task."""
    if task not in DEFAULT_HEADS:
        raise ModelError(f"task {task!r}; there are: {', '.join(DEFAULT_HEADS)}")
    chosen = name or DEFAULT_HEADS[task]
    fitting = ", ".join(kind.name for kind in _KINDS if kind.task == task)
    if chosen not in HEADS:
        raise ModelError(f"head {chosen!r}; there are: {fitting} for {task}")
    if HEADS[chosen].task != task:
        raise ModelError(
            f"head {chosen!r} is for {HEADS[chosen].task}; for {task} there are: {fitting}"
        )
    return HEADS[chosen]
