"""Predictions for one image without labels, in the pixels of that image.

Boxes are x0, y0, x1, y1 with 0, 0 at the top left corner of the image; joints are x, y with 0, 0 in
the middle of its first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from fnac.data.class_files import Colour

from .overlay import draw_boxes, draw_classes, draw_labels, draw_skeletons

Picture = npt.NDArray[np.uint8]
TOP = 5
SHOWN_SCORE = 0.3
"""Boxes below are not drawn and not listed in words; they are in the JSON."""


class Answer(Protocol):
    """A network's prediction for one image."""

    def as_json(self) -> dict[str, Any]:
        """Return the answer as ``fnac predict --json`` prints it, without the path."""
        ...

    def in_words(self) -> str:
        """Return the answer in one line."""
        ...

    def draw(self, image: Picture) -> Image.Image:
        """Draw the answer on its image uint8 (H, W, 3)."""
        ...


@dataclass(frozen=True)
class Labels:
    """Segmentation: ``labels`` int64 (H, W), class ids of the image's pixels.

    colours  of the data set, by class id; the other classes have fnac's own
    """

    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    colours: Mapping[int, Colour] = field(default_factory=dict)

    def shares(self) -> list[tuple[int, int]]:
        """Return (class id, pixels) of the classes that occur, largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        counted = [(int(i), int(counts[i])) for i in np.argsort(-counts, kind="stable")]
        return [(i, pixels) for i, pixels in counted if pixels]

    def as_json(self) -> dict[str, Any]:
        """Return the classes with their pixels and shares."""
        return {
            "labels": [
                {
                    "id": i,
                    "name": self.names[i],
                    "pixels": pixels,
                    "share": round(pixels / self.labels.size, 6),
                }
                for i, pixels in self.shares()
            ]
        }

    def in_words(self) -> str:
        """Name the largest classes."""
        parts = [f"{self.names[i]} {p / self.labels.size:.0%}" for i, p in self.shares()[:TOP]]
        return ", ".join(parts)

    def draw(self, image: Picture) -> Image.Image:
        """Paint the classes over the image, with a legend."""
        shown = [i for i, _ in self.shares()]
        return draw_labels(image, self.labels, self.names, shown, self.colours)

    def mask(self) -> Image.Image:
        """Return the class ids as a grey image, to be saved as PNG."""
        if len(self.names) <= 256:
            return Image.fromarray(self.labels.astype(np.uint8))
        return Image.fromarray(self.labels.astype(np.uint16))


@dataclass(frozen=True)
class Boxes:
    """Detection: boxes float (n, 4), scores float (n,) in falling order, class ids int (n,)."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the boxes, best first."""
        return {
            "boxes": [
                {
                    "box": [round(float(edge), 3) for edge in box],
                    "score": round(float(score), 6),
                    "id": int(label),
                    "name": self.names[int(label)],
                }
                for box, score, label in zip(self.boxes, self.scores, self.labels, strict=True)
            ]
        }

    def in_words(self) -> str:
        """Count the boxes and name the best."""
        shown = [i for i, score in enumerate(self.scores) if score >= SHOWN_SCORE]
        named = [f"{self.names[int(self.labels[i])]} {self.scores[i]:.2f}" for i in shown[:TOP]]
        words = f"{len(shown)} of {len(self.scores)} boxes score at least {SHOWN_SCORE}"
        return words + (": " + ", ".join(named) if named else "")

    def draw(self, image: Picture) -> Image.Image:
        """Draw the likely boxes, with class and score."""
        shown = self.scores >= SHOWN_SCORE
        rows = zip(self.boxes[shown], self.scores[shown], self.labels[shown], strict=True)
        return draw_boxes(
            image, [(tuple(map(float, b)), float(s), int(i)) for b, s, i in rows], self.names
        )


@dataclass(frozen=True)
class Skeletons:
    """Pose: K joints of each person, float (P, K, 2), and their scores, float (P, K)."""

    keypoints: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the joints of each person."""
        return {
            "keypoints": [
                {
                    "score": round(float(scores.mean()), 6),
                    "joints": [
                        {
                            "name": name,
                            "x": round(float(x), 3),
                            "y": round(float(y), 3),
                            "score": round(float(score), 6),
                        }
                        for name, (x, y), score in zip(self.names, places, scores, strict=True)
                    ],
                }
                for places, scores in zip(self.keypoints, self.scores, strict=True)
            ]
        }

    def in_words(self) -> str:
        """Count the persons and name the most certain joint."""
        best = [
            f"{self.names[int(scores.argmax())]} {scores.max():.2f} is the surest joint"
            for scores in self.scores
        ]
        return f"{len(best)} person{'' if len(best) == 1 else 's'}: " + "; ".join(best)

    def draw(self, image: Picture) -> Image.Image:
        """Draw joints and limbs."""
        return draw_skeletons(image, self.keypoints, self.names, self.limbs)


@dataclass(frozen=True)
class Classes:
    """Classification: the probability of each class, float (C,)."""

    probabilities: npt.NDArray[np.float32]
    names: tuple[str, ...]

    def best(self) -> list[tuple[int, float]]:
        """Return (class id, probability) of the five most likely classes."""
        order = np.argsort(-self.probabilities, kind="stable")[:TOP]
        return [(int(i), float(self.probabilities[i])) for i in order]

    def as_json(self) -> dict[str, Any]:
        """Return the five most likely classes."""
        return {
            "classes": [
                {"id": i, "name": self.names[i], "probability": round(p, 6)} for i, p in self.best()
            ]
        }

    def in_words(self) -> str:
        """Name the five most likely classes."""
        return ", ".join(f"{self.names[i]} {p:.1%}" for i, p in self.best())

    def draw(self, image: Picture) -> Image.Image:
        """Write the five most likely classes below the image."""
        return draw_classes(image, [(self.names[i], p) for i, p in self.best()])
