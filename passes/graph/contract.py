"""The contract of a file: how to prepare its input and what it outputs, kept in its manifest.

The manifest's keys ``size``, ``preprocessing``, ``outputs``, ``task``, ``classes``, ``colours``,
``limbs``, ``mirrored`` and ``stride`` are the contract (docs/metadata.md); this module alone knows
their form. What other tools read (plain entries, spelled as Ultralytics spells them) is derived
from it when a file is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .joint_names import mirrored_pairs

Triple = tuple[float, float, float]
Colour = tuple[int, int, int]
Entry = Mapping[str, Any]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

RESIZES = ("stretch", "letterbox", "sides", "crop", "window")
"""How an image comes to the input's size:

stretch    to the size, whatever its shape
letterbox  as large as fits, its shape kept, top left; the rest is filled with ``pad``
sides      its shape kept: short side at most the lesser of ``sides``, long side at most the greater
crop       the largest middle part of the input's shape, resized
window     the person's box times ``window``, widened to the input's shape, resampled bilinearly
"""
PERSON_WINDOW = 1.25
LAYOUTS = ("NCHW", "NHWC")

LOGITS = {"meaning": "a score of each class", "unit": "logit"}
RAW: dict[str, tuple[Entry, ...]] = {
    "seg": ({"meaning": "a score of each class in each cell", "unit": "logit"},),
    "det": (
        {"meaning": "a score of each class at each anchor", "unit": "logit"},
        {
            "meaning": "shift and growth of each anchor",
            "unit": "anchor sizes and their logarithm",
            "box_format": "anchor deltas",
        },
    ),
    "pose": ({"meaning": "where each joint is likely", "unit": "height of a gaussian, 0 to 1"},),
    "cls": (LOGITS,),
}
"""Task -> what the outputs of its head mean, in their order."""
LABELS: Entry = {"meaning": "the class of each pixel of the input", "unit": "class id"}
PIXELS = "pixels of the input"
BOXES: Entry = {"meaning": "boxes, best first", "unit": PIXELS, "box_format": "x0y0x1y1"}
BOX_SCORES: Entry = {"meaning": "the score of each box; 0: an unused row", "unit": "0 to 1"}
BOX_LABELS: Entry = {"meaning": "the class of each box; -1: an unused row", "unit": "class id"}
KEYPOINTS: Entry = {
    "meaning": "x and y of each joint; (0, 0) is the middle of the first pixel",
    "unit": PIXELS,
}
JOINT_SCORES: Entry = {"meaning": "the score of each joint", "unit": "height of a gaussian, 0 to 1"}

PLAIN_TASKS = {"seg": "semantic", "det": "detect", "pose": "pose", "cls": "classify"}
PLAIN_KEYS = ("task", "names", "imgsz", "stride", "kpt_shape", "kpt_names")
"""Entries beside the manifest that other tools read; written from it, never read."""


@dataclasses.dataclass(frozen=True)
class InputContract:
    """How to prepare the image input.

    size     (H, W) in pixels; None: any, and none was named
    mean     with ``std`` and ``color``: value = (pixel - mean) / std, pixels scaled to ``range``,
    std      channels in the order of ``color``
    color    RGB or BGR
    range    what 0 and 255 of a pixel become before mean and std
    layout   NCHW or NHWC
    resize   one of RESIZES; None: the file has no task yet
    pad      colour around an image, values of 0 to 255 in the order of ``color``; None: the mean
    window   of a person, in sizes of its box; None: the task knows no persons
    sides    (short, long) in pixels for ``sides``
    assumed  nobody stated mean and std: ImageNet's were taken
    """

    size: tuple[int, int] | None = None
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: str = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    layout: str = "NCHW"
    resize: str | None = None
    pad: Triple | None = None
    window: float | None = None
    sides: tuple[int, int] | None = None
    assumed: bool = False

    def on_unit_range(self) -> tuple[Triple, Triple]:
        """Return mean and std for pixels / 255."""
        low, high = self.range
        span = high - low
        mean = tuple((value - low) / span for value in self.mean)
        std = tuple(value / span for value in self.std)
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

    def padding(self) -> Triple:
        """Return the colour of the padding, values of 0 to 255 in the order of ``color``."""
        if self.pad is not None:
            return self.pad
        mean, _ = self.on_unit_range()
        return (255 * mean[0], 255 * mean[1], 255 * mean[2])

    def as_json(self) -> dict[str, Any]:
        """Return the object ``input`` of a ``model.json``."""
        return {"size": None if self.size is None else list(self.size), **self.preprocessing()}

    def preprocessing(self) -> dict[str, Any]:
        """Return the manifest's ``preprocessing``, without the size, which has its own key."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["size"]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {k: v for k, v in plain.items() if v is not None}


@dataclasses.dataclass(frozen=True)
class Contract:
    """How to prepare a file's input, and what it outputs.

    outputs  one entry each: name, meaning, unit; for boxes box_format, for scores score_floor
    classes  names by id; for pose the names of the joints; None: not known
    limbs    pose: pairs of joints that a drawing connects
    mirrored  pose: pairs (left, right) of joints that swap in a mirrored image
    colours  seg: the data set's RGB colour of each class; (): it has none of its own
    """

    input: InputContract
    task: str | None = None
    outputs: tuple[Entry, ...] = ()
    classes: tuple[str, ...] | None = None
    limbs: tuple[tuple[int, int], ...] = ()
    mirrored: tuple[tuple[int, int], ...] = ()
    colours: tuple[Colour, ...] = ()

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> Contract:
        """Read a valid manifest; what it does not say is assumed, or None."""
        size = manifest.get("size")
        stated = manifest.get("preprocessing") or {}
        known = {f.name for f in dataclasses.fields(InputContract)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in stated.items()
            if key in known
        }
        values.setdefault("assumed", "mean" not in stated)
        values["size"] = (int(size[0]), int(size[1])) if size else None
        names = manifest.get("classes")
        pairs = manifest.get("mirrored")
        colours = tuple((int(r), int(g), int(b)) for r, g, b in manifest.get("colours") or ())
        return cls(
            input=InputContract(**values),
            task=manifest.get("task"),
            outputs=tuple(manifest.get("outputs") or ()),
            classes=None if names is None else tuple(names),
            limbs=tuple((int(a), int(b)) for a, b in manifest.get("limbs") or ()),
            mirrored=(
                mirrored_pairs(names or ())
                if pairs is None
                else tuple((int(a), int(b)) for a, b in pairs)
            ),
            colours=colours if len(colours) == len(names or ()) else (),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the contract as ``model.json`` holds it."""
        entries: dict[str, Any] = {
            "task": self.task,
            "input": self.input.as_json(),
            "outputs": [dict(entry) for entry in self.outputs],
        }
        if self.task == "pose":
            joints = list(self.classes or ())
            entries |= {"joints": joints, "limbs": [list(pair) for pair in self.limbs]}
            entries["mirrored"] = [list(pair) for pair in self.mirrored]
        else:
            entries["classes"] = None if self.classes is None else list(self.classes)
            if self.colours:
                entries["colours"] = [list(colour) for colour in self.colours]
        return entries


def state_input(manifest: dict[str, Any], **changes: Any) -> None:
    """Write changes of the input contract into a manifest, in place; ``size`` as well."""
    contract = dataclasses.replace(Contract.read(manifest).input, **changes)
    if contract.size is not None:
        manifest["size"] = list(contract.size)
    manifest["preprocessing"] = contract.preprocessing()


def cost_size(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the (H, W) that the costs in a manifest are counted at; None: the network's own."""
    stated = manifest.get("cost_size")
    return (int(stated[0]), int(stated[1])) if stated else None


def forget_task(manifest: dict[str, Any]) -> None:
    """Remove what belongs to a task, not to a network, from the input contract, in place."""
    for key in ("resize", "window", "sides", "pad"):
        manifest.get("preprocessing", {}).pop(key, None)


def usual_resize(
    task: str | None, head: str | None
) -> Literal["stretch", "letterbox", "crop", "window"] | None:
    """Return the default resize mode for this task and head."""
    match task:
        case "seg":
            return "stretch"
        case "det":
            return "stretch" if head == "ssdlite" else "letterbox"
        case "pose":
            return "window"
        case "cls":
            return "crop"
    return None


def state_outputs(
    manifest: dict[str, Any], names: Sequence[str], meanings: Sequence[Entry], first: int = 0
) -> None:
    """Write what the outputs called ``names`` mean into a manifest, in place.

    meanings  those of the outputs from place ``first`` on; others have their name alone
    """
    entries: list[dict[str, Any]] = [{"name": name} for name in names]
    for place, meaning in enumerate(meanings[: len(entries) - first], first):
        entries[place] |= meaning
    manifest["outputs"] = entries


def plain_entries(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries of PLAIN_KEYS that a manifest has something to say about.

    Values are Python literals, as Ultralytics writes and reads them.
    """
    entries: dict[str, str] = {}
    task, names = manifest.get("task"), manifest.get("classes")
    if task in PLAIN_TASKS:
        entries["task"] = PLAIN_TASKS[task]
    if names and task == "pose":
        entries["names"] = str({0: "person"})
        entries["kpt_shape"] = str([len(names), 3])
        entries["kpt_names"] = str({0: list(names)})
    elif names:
        entries["names"] = str(dict(enumerate(names)))
    if manifest.get("size"):
        entries["imgsz"] = str([int(side) for side in manifest["size"]])
    if manifest.get("stride"):
        entries["stride"] = str(int(manifest["stride"]))
    return entries
