"""Samples of the built-in scenes for tasks other than segmentation.

Only objects count, not the clutter, and of them those that are seen: at least a quarter of what
lies inside the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..sets.boxes import BoxPicture
from ..sets.persons import PADDING, Person, window_rows
from ..source import Sample
from .render import fill_outline

if TYPE_CHECKING:
    from .painted import SceneDataset

SEEN = 0.25  # share of an object's pixels inside the image that must not be covered
CROP_MARGIN = 1.3  # side of what is cut out for classification, in sides of the object's box


def seen_objects(scenes: SceneDataset, index: int) -> list[int]:
    """Return the places in ``objects`` of those that are visible in scene ``index``."""
    height, width = scenes.size
    _, _, numbers = scenes.painted(index)
    places = []
    for place, item in enumerate(scenes.description(index).objects):
        if item.kind == 0:
            continue
        pixels = int(fill_outline(item.outline, 0, height, 0, width).sum())
        seen = int((numbers == place + 1).sum())
        if pixels and seen >= SEEN * pixels:
            places.append(place)
    return places


class SceneBoxes:
    """Scenes with a box around each object: its outline inside the image, also where covered."""

    def __init__(self, scenes: SceneDataset) -> None:
        self.scenes = scenes
        self._known: dict[int, BoxPicture] = {}

    def __len__(self) -> int:
        """Count the scenes."""
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and boxes float32 (n, 5)."""
        return self.scenes[index][0], torch.from_numpy(self.info(index).boxes.copy())

    def id(self, index: int) -> str:
        """Return the scene's number in its series."""
        return self.scenes.id(index)

    def info(self, index: int) -> BoxPicture:
        """Return the metadata of the scene's description."""
        known = self._known.get(index)
        if known is None:
            height, width = self.scenes.size
            objects = self.scenes.description(index).objects
            rows = []
            for place in seen_objects(self.scenes, index):
                x0, y0, x1, y1 = objects[place].box
                corners = (
                    max(0.0, x0),
                    max(0.0, y0),
                    min(float(width), x1),
                    min(float(height), y1),
                )
                rows.append((*corners, objects[place].kind - 1))
            boxes = np.array(rows, np.float32).reshape(-1, 5)
            known = BoxPicture(
                image=Path(self.id(index)),
                key=self.id(index),
                size=self.scenes.size,
                boxes=boxes,
                areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
                ignored=np.zeros((0, 5), np.float32),
            )
            self._known[index] = known
        return known


class _Objects:
    """One sample per visible object, in the order of the scenes."""

    def __init__(self, scenes: SceneDataset) -> None:
        self.scenes = scenes
        self.places = [
            (index, place) for index in range(len(scenes)) for place in seen_objects(scenes, index)
        ]

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.places)

    def id(self, index: int) -> str:
        """Return the scene's number and the object's place in it."""
        scene, place = self.places[index]
        return f"{self.scenes.id(scene)}-{place}"


class SceneFigures(_Objects):
    """One object with its keypoints per sample, in its whole scene, in place of a person."""

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and a raw pose truth float32 (K + 2, 3)."""
        figure = self.info(index)
        image = self.scenes[self.places[index][0]][0]
        rows = window_rows(figure.centre, figure.window)
        return image, torch.cat([torch.from_numpy(figure.joints), rows])

    def info(self, index: int) -> Person:
        """Return the object's metadata; keypoints outside the image: 0."""
        scene, place = self.places[index]
        height, width = self.scenes.size
        item = self.scenes.description(scene).objects[place]
        _, _, numbers = self.scenes.painted(scene)
        joints = np.zeros((len(item.keypoints), 3), np.float32)
        for row, (x, y) in zip(joints, item.keypoints, strict=True):
            if 0 <= x < width and 0 <= y < height:
                row[:] = x, y, 2 if numbers[int(y), int(x)] == place + 1 else 1
        x0, y0, x1, y1 = item.box
        return Person(
            where=self.id(index),
            id=place,
            image=Path(self.scenes.id(scene)),
            image_id=self.scenes.id(scene),
            joints=joints,
            centre=((x0 + x1) / 2, (y0 + y1) / 2),
            window=(PADDING * (x1 - x0), PADDING * (y1 - y0)),
            area=(x1 - x0) * (y1 - y0),
        )


class SceneCrops(_Objects):
    """One cropped object per sample, with its class id."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 (3, h, w) and class id int64 ()."""
        scene, place = self.places[index]
        height, width = self.scenes.size
        item = self.scenes.description(scene).objects[place]
        x0, y0, x1, y1 = item.box
        half = CROP_MARGIN * max(x1 - x0, y1 - y0) / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        left, right = max(0, int(x - half)), min(width, int(x + half) + 1)
        top, bottom = max(0, int(y - half)), min(height, int(y + half) + 1)
        image = self.scenes[scene][0][:, top:bottom, left:right]
        return image, torch.tensor(item.kind - 1)
