"""The built-in data set: synthetic scenes, painted on first use and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fnac.errors import DataError

from .scene_render import render_scene
from .scenes import CLASSES, describe_scene

# Scene numbers of the splits start here: no two splits ever share a scene.
FIRST_NUMBER = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class SceneDataset:
    """``count`` scenes of series ``seed`` from number ``first`` on."""

    seed: int
    first: int
    count: int
    size: tuple[int, int]
    _kept: dict[int, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        """Count the scenes."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 (3, H, W) and mask uint8 (H, W); not to be changed in place."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        sample = self._kept.get(index)
        if sample is None:
            height, width = self.size
            scene = describe_scene(self.seed, self.first + index, height, width)
            image, mask, _ = render_scene(scene)
            sample = torch.from_numpy(image), torch.from_numpy(mask)
            if 4 * height * width * self.count <= KEPT_BYTES:
                self._kept[index] = sample
        return sample

    def id(self, index: int) -> str:
        """Return the scene's number in its series."""
        return f"scene-{self.seed}-{self.first + index}"


@dataclass(frozen=True)
class SceneSource:
    """Scenes of one series (``seed``), split by number; ``size`` is (H, W) in pixels.

    ``task`` says what the targets are.
    """

    train: int = 512
    val: int = 128
    test: int = 0
    size: tuple[int, int] = (96, 96)
    seed: int = 0
    task: str = "seg"
    name: str = "scenes"
    _splits: dict[str, SceneDataset] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def classes(self) -> list[str]:
        """Background and the seven textured shapes."""
        return list(CLASSES)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with a count above zero."""
        return tuple(name for name in FIRST_NUMBER if getattr(self, name))

    def split(self, name: str) -> SceneDataset:
        """Return one split (the same object each time: its scenes stay painted)."""
        if name not in self.splits:
            found = ", ".join(self.splits) or "no split at all"
            todo = f"; ask for it with --data scenes:{name}=128" if name in FIRST_NUMBER else ""
            raise DataError(
                f"scenes: there is no split '{name}'; wanted one of those there are: {found}{todo}"
            )
        if name not in self._splits:
            dataset = SceneDataset(self.seed, FIRST_NUMBER[name], getattr(self, name), self.size)
            self._splits[name] = dataset
        return self._splits[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check that the splits exist; there are no files that could be broken."""
        for name in self.splits if splits is None else splits:
            self.split(name)
