"""The built-in data set: synthetic scenes, painted on first use and kept in memory.

The same scenes serve every task: masks (seg), boxes of the objects (det), one object with its
keypoints a sample (pose), one object cut out a sample (cls).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fnac.errors import DataError
from fnac.passes.names import did_you_mean

from ..sets.joints import PCK, JointSet
from ..source import Dataset
from .describe import CLASSES, KEYPOINTS
from .painted import SceneDataset
from .samples import SceneBoxes, SceneCrops, SceneFigures

# Scene numbers of the splits start here: no two splits ever share a scene.
FIRST_NUMBER = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
JOINTS = JointSet(
    names=tuple(KEYPOINTS),
    limbs=((0, 1), (0, 2), (0, 3), (0, 4)),
    metric=PCK,
    torso=(1, 3),
)
SAMPLES: dict[str, Callable[[SceneDataset], Dataset]] = {
    "seg": lambda scenes: scenes,
    "det": SceneBoxes,
    "pose": SceneFigures,
    "cls": SceneCrops,
}
"""Task -> what a sample of the scenes is."""


@dataclass(frozen=True)
class SceneSource:
    """Scenes of one series (``random_seed``), split by number; ``size`` is (H, W) in pixels.

    ``task`` says what the samples are; counts are of scenes.
    """

    train: int = 512
    val: int = 128
    test: int = 0
    size: tuple[int, int] = (96, 96)
    random_seed: int = 0
    task: str = "seg"
    name: str = "scenes"
    joints: JointSet = JOINTS
    _splits: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def classes(self) -> list[str]:
        """The textured shapes (for seg after the background); for pose the keypoints."""
        if self.task == "pose":
            return list(KEYPOINTS)
        return list(CLASSES) if self.task == "seg" else list(CLASSES[1:])

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with a count above zero."""
        return tuple(name for name in FIRST_NUMBER if getattr(self, name))

    def split(self, name: str) -> Dataset:
        """Return one split (the same object each time: its scenes stay painted)."""
        if name not in self.splits:
            known = ", ".join(self.splits) or "no split at all"
            todo = f"; ask for it with --data scenes:{name}=128" if name in FIRST_NUMBER else ""
            raise DataError(
                f"scenes: there is no split '{name}'{did_you_mean(name, self.splits)}; "
                f"wanted one of those there are: {known}{todo}"
            )
        if name not in self._splits:
            scenes = SceneDataset(
                self.random_seed, FIRST_NUMBER[name], getattr(self, name), self.size
            )
            self._splits[name] = SAMPLES[self.task](scenes)
        return self._splits[name]

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check that the splits exist; there are no files to check."""
        for name in self.splits if splits is None else splits:
            self.split(name)
