"""Anchors of a detector: read from the manifest, placed on an image, decoded to boxes.

``manifest["anchors"]`` is written with the head and holds all that decoding needs::

    {"levels": [{"stride": 8, "boxes": [[32, 32], [45.25, 22.63]]}, {"stride": 16, ...}],
     "scores": "sigmoid", "box_std": [1, 1, 1, 1], "centre": 0.5}

Boxes are (width, height) in pixels; a stride is one number, or [down, across] where they differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedGraphError

SCORES = ("sigmoid", "softmax")
LARGEST_LOG_SCALE = math.log(1000 / 16)
"""Deltas of width and height are cut there, as in Detectron: no box is 62 times its anchor."""


@dataclasses.dataclass(frozen=True)
class AnchorLevel:
    """One feature map: pixels between cells (vertical, horizontal), (width, height) of boxes."""

    stride: tuple[float, float]
    boxes: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class AnchorSpec:
    """All anchors of a head.

    levels   finest first
    scores   ``sigmoid``: one score a class; ``softmax``: class 0 is background
    box_std  what dx, dy, dw, dh are multiplied by when boxes are decoded
    centre   where in its cell an anchor is centred, as a fraction of the stride
    """

    levels: tuple[AnchorLevel, ...]
    scores: str = "sigmoid"
    box_std: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    centre: float = 0.5

    @classmethod
    def read(cls, stored: object, where: str = "manifest") -> AnchorSpec:
        """Read ``manifest["anchors"]``; raises UnsupportedGraphError saying what is wrong."""
        if not isinstance(stored, Mapping):
            raise _wrong(where, f"found {stored!r}", "an object with levels, scores, box_std")
        levels = stored.get("levels")
        if not isinstance(levels, Sequence) or not levels:
            raise _wrong(where, f"levels {levels!r}", "a list, finest level first")
        scores = stored.get("scores", "sigmoid")
        if scores not in SCORES:
            raise _wrong(where, f"scores {scores!r}", " or ".join(SCORES))
        std = _numbers(stored.get("box_std", (1, 1, 1, 1)), 4, f"{where}: anchors.box_std")
        centre = _numbers([stored.get("centre", 0.5)], 1, f"{where}: anchors.centre")[0]
        read = tuple(
            _read_level(level, f"{where}: anchors.levels[{place}]")
            for place, level in enumerate(levels)
        )
        return cls(read, str(scores), (std[0], std[1], std[2], std[3]), centre)

    def cells(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Return (rows, columns) of each level at an image of ``size`` (H, W).

        Rounded up, and halved level by level with rounding up, as strided convolutions do; so a
        coarse level is right even where its stride is no power of two (107 at 320: 3 cells).
        """
        sizes: list[tuple[int, int]] = []
        for place, level in enumerate(self.levels):
            if place == 0:
                rows, columns = (
                    math.ceil(side / step) for side, step in zip(size, level.stride, strict=True)
                )
            else:
                times = self.halvings(self.levels[place - 1].stride, level.stride)
                rows, columns = (_halve(c, n) for c, n in zip(sizes[-1], times, strict=True))
            sizes.append((rows, columns))
        return sizes

    @staticmethod
    def halvings(finer: Sequence[float], coarser: Sequence[float]) -> list[int]:
        """Return how often rows and columns are halved from one level's stride to the next's."""
        return [round(math.log2(b / a)) for a, b in zip(finer, coarser, strict=True)]

    def count(self, size: Sequence[int]) -> int:
        """Return how many anchors an image of ``size`` (H, W) has."""
        cells = self.cells(size)
        return sum(r * c * len(n.boxes) for (r, c), n in zip(cells, self.levels, strict=True))


def anchor_boxes(spec: AnchorSpec | Mapping[str, Any], size: Sequence[int]) -> np.ndarray:
    """Return all anchors of an image of ``size`` (H, W): float32 (A, 4), x0 y0 x1 y1, pixels.

    Level by level (finest first), then row, column, anchor of the cell: the order in which a head
    outputs its predictions. Boxes reach over the image's edge and are not clipped.
    """
    spec = spec if isinstance(spec, AnchorSpec) else AnchorSpec.read(spec)
    parts = []
    for (rows, columns), level in zip(spec.cells(size), spec.levels, strict=True):
        y = (np.arange(rows) + spec.centre) * level.stride[0]
        x = (np.arange(columns) + spec.centre) * level.stride[1]
        centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]
        half = np.array(level.boxes) / 2
        boxes = np.concatenate([centres - half, centres + half], axis=-1)
        parts.append(boxes.reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def decode_boxes(
    deltas: np.ndarray, anchors: np.ndarray, spec: AnchorSpec, size: Sequence[int]
) -> np.ndarray:
    """Return the boxes (..., A, 4) x0 y0 x1 y1 decoded from ``deltas`` (..., A, 4) and anchors.

    dx, dy shift the centre by a part of the anchor's size, dw, dh are logarithms of the change of
    size (R-CNN's parametrisation); boxes are clipped to the image (H, W).
    """
    scaled = deltas * np.asarray(spec.box_std, deltas.dtype)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + sizes / 2
    middle = centres + scaled[..., :2] * sizes
    half = sizes * np.exp(np.minimum(scaled[..., 2:], LARGEST_LOG_SCALE)) / 2
    edge = np.array([size[1], size[0]] * 2, deltas.dtype)
    return np.asarray(np.clip(np.concatenate([middle - half, middle + half], axis=-1), 0, edge))


def _halve(cells: int, times: int) -> int:
    for _ in range(times):
        cells = -(-cells // 2)
    return cells


def _read_level(level: object, where: str) -> AnchorLevel:
    if not isinstance(level, Mapping) or not level.get("boxes"):
        raise _wrong(where, f"found {level!r}", "stride and boxes")
    stride = level.get("stride")
    steps = stride if isinstance(stride, list | tuple) else [stride, stride]
    down, across = _numbers(steps, 2, f"{where}.stride")
    boxes = [_numbers(box, 2, f"{where}.boxes") for box in level["boxes"]]
    if min(down, across, *(side for box in boxes for side in box)) <= 0:
        raise _wrong(where, f"found {level!r}", "strides and sides above 0")
    return AnchorLevel((down, across), tuple((box[0], box[1]) for box in boxes))


def _numbers(value: object, count: int, where: str) -> list[float]:
    if (
        not isinstance(value, Sequence)
        or len(value) != count
        or not all(isinstance(n, int | float) and math.isfinite(n) for n in value)
    ):
        raise _wrong(where, f"found {value!r}", f"{count} numbers")
    return [float(n) for n in value]


def _wrong(where: str, what: str, form: str) -> UnsupportedGraphError:
    where = where if "anchors" in where else f"{where}: anchors"
    return UnsupportedGraphError(
        f"{where}: {what}; wanted {form}; attach the detection head again (fnac expand)"
    )
