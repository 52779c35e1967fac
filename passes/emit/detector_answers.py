"""How a detector's raw outputs become boxes: four settings, shared by torch and the file."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DetectorAnswers:
    """Which boxes a detector outputs."""

    iou: float = 0.5
    """Detection: boxes of one class that overlap more are one object."""
    score: float = 0.05
    """Detection: boxes with a lower score are dropped."""
    candidates: int = 1000
    """Detection: anchors per image that are considered, best first."""
    detections: int = 100
    """Detection: largest number of boxes per image."""

    def __post_init__(self) -> None:
        """Refuse values that allow no detections."""
        if not 0 <= self.iou <= 1 or not 0 <= self.score < 1:
            raise ValueError(f"iou={self.iou:g}, score={self.score:g}; wanted 0 to 1")
        if self.candidates < 1 or self.detections < 1:
            raise ValueError(
                f"candidates={self.candidates}, detections={self.detections}; wanted at least 1"
            )

    def answers(self) -> DetectorAnswers:
        """Return these four settings without those of a subclass."""
        return DetectorAnswers(self.iou, self.score, self.candidates, self.detections)
