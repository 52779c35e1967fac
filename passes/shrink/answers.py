"""How much do the outputs of two networks differ on the same images?

What is compared stands in front of all selection (:mod:`..heads.raw_outputs`). Class scores are
compared by the Kullback-Leibler divergence of their probabilities, at each pixel, in nats;
everything else (boxes, heatmaps, features of unknown meaning) by its squared error relative to the
variance of each channel of the original: 0 is the same, 1 is what a constant achieves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..heads.raw_outputs import RawOutput, raw_outputs
from ..remap.gram import sampled_places
from ..running.features import Features

LEAST = 1e-12
PLACES = 4096  # of each image that are compared, spread over it; all if there are no more


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
        sums = np.zeros((len(self.answers), 2))
        for original, answered in zip(self._original, self._stream(features), strict=True):
            for place, one in enumerate(self.answers):
                sums[place] += self._compare(one, original[one.name], answered[one.name])
        return float((sums[:, 0] / np.maximum(sums[:, 1], 1.0)).mean())

    def error_of(self, graph: Graph) -> float:
        """Return the error of a network with the same tensor names, run on the images."""
        return self.error(Features(graph, self.images, batch=self.features.batch))

    def _stream(self, features: Features) -> Iterator[Mapping[str, np.ndarray]]:
        return features.stream([one.name for one in self.answers])

    def _compare(
        self, one: RawOutput, original: np.ndarray, answered: np.ndarray
    ) -> tuple[float, int]:
        """Return the sum of errors and their number."""
        other = _understood(one, answered)
        if original.shape != other.shape:
            raise UnsupportedGraphError(
                f"{one.name}: {list(answered.shape)} is not what the original answers; answers of "
                "one shape are wanted"
            )
        if one.meaning == "values":
            rest = ((original - other) ** 2).sum(axis=(0, 1), dtype=np.float64)
            return float((rest / self._spread[one.name]).sum()), original.size
        divergence = np.exp(original) * (original - other)
        return float(divergence.sum(dtype=np.float64)), original.size // original.shape[-1]

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
