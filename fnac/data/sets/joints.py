"""The joints of a body: names, mirror pairs, limbs and scoring.

Sources of the numbers: MPII's and LSP's order from their annotation files; COCO's order, skeleton
and sigmas from the person category of its annotations and from pycocotools; sigmas of other joints
as in CrowdPose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fnac.errors import DataError
from fnac.passes.graph.joint_names import mirrored_pairs, sides_of

PCKH, PCK, OKS_AP = "PCKh@0.5", "PCK@0.2", "AP"
METRICS = (PCKH, PCK, OKS_AP)

_SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089, "head": 0.079, "neck": 0.079, "head_top": 0.079,
    "upper_neck": 0.079, "thorax": 0.079, "pelvis": 0.107,
}  # fmt: skip


@dataclass(frozen=True)
class JointSet:
    """The K joints of a data set.

    names: of the joints, in the order of the rows of a truth.
    limbs: pairs of joints that an image connects with a line.
    metric: which of ``PCKh@0.5``, ``PCK@0.2`` (of the torso) and ``AP`` (of OKS) the data set is
        measured in.
    sigmas: spread of human labels a joint, as fractions of the square root of the person's area
        (OKS); ``()`` where the metric is another.
    head: head top and neck: their distance stands in for a head size that is not stated.
    torso: two joints whose distance is the unit of PCK (left shoulder, right hip).
    not_counted: joints that the metric leaves out (MPII: pelvis and thorax).
    mirror: pairs (left, right) that change places in a mirror; None: those that the names say.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    metric: str
    sigmas: tuple[float, ...] = ()
    head: tuple[int, int] | None = None
    torso: tuple[int, int] | None = None
    not_counted: tuple[int, ...] = ()
    mirror: tuple[tuple[int, int], ...] | None = None

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of joints that swap when mirrored."""
        return mirrored_pairs(self.names) if self.mirror is None else self.mirror

    @property
    def unpaired(self) -> tuple[str, ...]:
        """The left or right joints without a counterpart."""
        paired = {place for pair in self.flip_pairs for place in pair}
        return tuple(
            name
            for place, (name, (side, _)) in enumerate(
                zip(self.names, sides_of(self.names), strict=True)
            )
            if side is not None and place not in paired
        )

    @property
    def sideless(self) -> bool:
        """Whether nothing says which joints swap when mirrored: neither names nor ``mirror``."""
        if self.mirror is not None or len(self.names) < 2:
            return False
        return all(side is None for side, _ in sides_of(self.names))

    def place(self, side: str, part: str) -> int | None:
        """Return the index of a joint such as (left, shoulder), however its name is written."""
        sided = sides_of(self.names)
        return sided.index((side, part)) if (side, part) in sided else None

    @property
    def mirrored(self) -> list[int]:
        """For each joint, the joint that takes its place when mirrored (itself without a pair)."""
        order = list(range(len(self.names)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order


def oks_sigmas(names: Sequence[str], where: str) -> tuple[float, ...]:
    """Look up the sigma of each joint by its name without the side; DataError for unknown ones."""
    sigmas = []
    for name, (_, plain) in zip(names, sides_of(names), strict=True):
        if plain not in _SIGMAS:
            raise DataError(
                f"{where}: joint '{name}' has no OKS sigma; wanted (left_, right_) "
                f"{', '.join(_SIGMAS)}; rename it, or give 'sigmas' in a YAML file as --data"
            )
        sigmas.append(_SIGMAS[plain])
    return tuple(sigmas)


MPII = JointSet(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis",
        "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12),
        (12, 7), (7, 13), (13, 14), (14, 15),
    ),
    metric=PCKH,
    head=(9, 8),
    torso=(13, 2),
    not_counted=(6, 7),
)  # fmt: skip

LSP = JointSet(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist", "neck", "head_top",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11),
        (12, 13), (8, 12), (9, 12), (2, 12), (3, 12),
    ),
    metric=PCK,
    head=(13, 12),
    torso=(9, 2),
)  # fmt: skip

_COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
COCO = JointSet(
    names=_COCO_NAMES,
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    metric=OKS_AP,
    sigmas=oks_sigmas(_COCO_NAMES, "COCO"),
    torso=(5, 12),
)  # fmt: skip
