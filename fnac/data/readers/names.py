"""Names of the readers, for which tasks each reads; known before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from fnac.errors import UsageError
from fnac.passes.names import did_you_mean

PICTURES = "pictures:"
"""Beginning of a SPEC of images without labels."""
MEANINGS = {
    "cityscapes": "Cityscapes in its stock layout, 19 classes",
    "camvid": "CamVid, 11 classes, in the tutorial's or SegNet's layout",
    "ade20k": "ADE20K scene parsing, 150 classes",
    "voc": "Pascal VOC: VOC2007, VOC2012",
    "coco": "COCO boxes: annotations/instances_SPLIT.json",
    "yolo": "images/ and labels/ with a text file an image",
    "folder": "images/ and masks/ with classes.txt; for cls a folder a class",
    "mpii": "MPII human pose, 16 joints",
    "lsp": "Leeds Sports Pose, 14 joints",
    "coco-keypoints": "persons in COCO's keypoint format",
    "scenes": "built-in synthetic images: scenes:train=512,val=128,size=96",
}
"""Name of a SPEC -> what is read."""
TASKS_OF = {
    **dict.fromkeys(("cityscapes", "camvid", "ade20k"), ("seg",)),
    "voc": ("seg", "det"),
    **dict.fromkeys(("coco", "yolo"), ("det",)),
    "folder": ("seg", "cls"),
    **dict.fromkeys(("mpii", "lsp", "coco-keypoints"), ("pose",)),
    "scenes": ("seg", "det", "pose", "cls"),
}
"""Name of a SPEC -> tasks that its annotations are read for."""


def readers_of(task: str) -> list[str]:
    """Return the readers of a task."""
    return [name for name, tasks in TASKS_OF.items() if task in tasks]


def check_reader(spec: str, task: str) -> None:
    """Raise UsageError if the NAME of ``NAME:PATH`` is no reader's, nor SPEC a file or folder."""
    name = spec.partition(":")[0]
    if name in TASKS_OF or Path(spec).suffix.lower() in (".yaml", ".yml") or Path(spec).exists():
        return
    known = readers_of(task)
    raise UsageError(
        f"--data {spec}: unknown reader '{name}'{did_you_mean(name, known)}; wanted NAME:PATH "
        f"with NAME of {', '.join(known)}, or a .yaml file"
    )
