"""How much do the outputs of two networks differ on the same images?

What is compared stands in front of all selection (:mod:`..heads.raw_outputs`). Class scores are
compared by the Kullback-Leibler divergence of their probabilities, at each pixel, in nats;
everything else (boxes, heatmaps, features of unknown meaning) by its squared error relative to the
variance of each channel of the original: 0 is the same, 1 is what a constant achieves.

Networks are ranked by the same numbers with one difference: where classes are told at many places,
each class that the original sees counts alike, or a rare one could be lost for nothing. One network
is better than another if it is so by more than the standard error over the images: the best of
several measured on few images is otherwise the luckiest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..heads.raw_outputs import RawOutput, raw_outputs
from ..remap.gram import Floats, sampled_places
from ..running.features import Features

LEAST = 1e-12
PLACES = 4096  # of each image that are compared, spread over it; all if there are no more


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How much the outputs of a network differ from the original's.

    error    mean over all places and outputs
    by_image (images,): the same with classes counted alike; what networks are ranked by
    """

    error: float
    by_image: Floats

    @property
    def rank(self) -> float:
        """The mean over the images, less is better."""
        return float(self.by_image.mean())

    def beats(self, other: Verdict) -> bool:
        """Say whether it is better than another by more than the standard error over the images."""
        gain = other.by_image - self.by_image
        noise = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
        return float(gain.mean()) > noise


class Judge:
    """Holds the original's outputs on some images and measures how much others differ.

    Memory: at most PLACES answers for each image, twice, in float32. Raises UnsupportedGraphError
    if no output is a smooth function of the image.
    """

    def __init__(self, graph: Graph, images: np.ndarray, *, batch: int = 8) -> None:
        self.answers = raw_outputs(graph)
        self.images = images
        self.features = Features(graph, images, batch=batch)
        self._original = [
            {one.name: _understood(one, numbers[one.name]) for one in self.answers}
            for numbers in self._stream(self.features)
        ]
        self._spread = {
            one.name: self._variance(one.name) for one in self.answers if one.meaning == "values"
        }
        self._counts = {
            one.name: self._class_counts(one.name)
            for one in self.answers
            if one.meaning in ("logits", "probabilities")
            and self._original[0][one.name].shape[1] > 1
        }

    @property
    def single(self) -> bool:
        """Whether an output of values has a single number per channel, which has no variance."""
        values = [one.name for one in self.answers if one.meaning == "values"]
        counts = [
            sum(b[name].shape[0] * b[name].shape[1] for b in self._original) for name in values
        ]
        return any(count < 2 for count in counts)

    @property
    def said(self) -> str:
        """What is compared, in words."""
        return ", ".join(f"{one.meaning} of {one.name}" for one in self.answers)

    def error(self, features: Features) -> float:
        """Return the mean error of another network's outputs on the same images."""
        return self.verdict(features).error

    def error_of(self, graph: Graph) -> float:
        """Return the error of a network with the same tensor names, run on the images."""
        return self.verdict_of(graph).error

    def verdict(self, features: Features) -> Verdict:
        """Return the verdict on another network's outputs on the same images."""
        plain: list[Floats] = []
        ranked: list[Floats] = []
        for original, answered in zip(self._original, self._stream(features), strict=True):
            pairs = [
                self._compare(one, original[one.name], answered[one.name]) for one in self.answers
            ]
            plain.append(np.mean([errors.mean(axis=1) for errors, _ in pairs], axis=0))
            ranked.append(
                np.mean([(errors * counts).mean(axis=1) for errors, counts in pairs], axis=0)
            )
        return Verdict(float(np.concatenate(plain).mean()), np.concatenate(ranked))

    def verdict_of(self, graph: Graph) -> Verdict:
        """Return the verdict on a network with the same tensor names, run on the images."""
        return self.verdict(Features(graph, self.images, batch=self.features.batch))

    def _stream(self, features: Features) -> Iterator[Mapping[str, np.ndarray]]:
        return features.stream([one.name for one in self.answers])

    def _compare(
        self, one: RawOutput, original: np.ndarray, answered: np.ndarray
    ) -> tuple[Floats, Floats]:
        """Return the error at each place of each image, and how often it counts: (N, places)."""
        other = _understood(one, answered)
        if original.shape != other.shape:
            raise UnsupportedGraphError(
                f"{one.name}: {list(answered.shape)} is not what the original answers; wanted "
                "answers of one shape"
            )
        if one.meaning == "values":
            rest = (original - other).astype(np.float64) ** 2 / self._spread[one.name]
            return rest.mean(axis=-1), np.ones((1, 1))
        divergence = (np.exp(original) * (original - other)).sum(axis=-1, dtype=np.float64)
        counts = self._counts.get(one.name)
        return divergence, np.ones((1, 1)) if counts is None else counts[original.argmax(axis=-1)]

    def _class_counts(self, name: str) -> Floats:
        """Return how often an error counts where the original sees each class: 1 on average."""
        seen = sum(
            np.bincount(batch[name].argmax(axis=-1).ravel(), minlength=batch[name].shape[-1])
            for batch in self._original
        )
        share = np.asarray(seen, np.float64) / float(np.sum(seen))
        there = share > 0
        return np.where(there, 1 / np.where(there, share * there.sum(), 1.0), 0.0)

    def _variance(self, name: str) -> np.ndarray:
        """Return the variance of each channel, at least a little of the mean of all."""
        values = np.concatenate([batch[name] for batch in self._original]).astype(np.float64)
        variance = values.var(axis=(0, 1))
        return np.asarray(np.maximum(variance, 1e-3 * float(variance.mean()) + LEAST))


def _understood(one: RawOutput, values: np.ndarray) -> np.ndarray:
    """Return (N, places, channels): values, or logarithms of the classes' probabilities.

    Binary scores become two classes each.
    """
    values = values if values.ndim > 1 else values[:, None]
    binary = one.meaning.startswith("binary")
    axis = 1 if one.axis is None and one.meaning == "values" else one.axis
    if binary:
        values, axis = values[..., None], -1
    axis = (-1 if axis is None else axis) % values.ndim
    rows = np.moveaxis(values, axis, -1)
    rows = rows.reshape(len(values), -1, values.shape[axis]) if values.ndim > 2 else rows[:, None]
    rows = rows[:, sampled_places(0, rows.shape[1], PLACES)].astype(np.float32)
    if one.meaning == "values":
        return np.asarray(rows)
    if one.meaning == "binary logits":
        rows = np.concatenate([rows, np.zeros_like(rows)], axis=-1)
    elif one.meaning == "binary probabilities":
        rows = np.concatenate([rows, 1 - rows], axis=-1)
    if one.meaning.endswith("probabilities"):
        return np.asarray(np.log(np.maximum(rows, np.float32(LEAST))))
    rows = rows - rows.max(axis=-1, keepdims=True)
    return np.asarray(rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True)))
