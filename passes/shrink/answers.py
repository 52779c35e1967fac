"""How far are the answers of two networks apart, on the same images?

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
from ..running.features import Features

LEAST = 1e-12


class Judge:
    """Holds the original's answers on some images and says how far others are from them.

    Memory: the answers for all images, float32. Raises UnsupportedGraphError if no output is a
    smooth function of the image.
    """

    def __init__(self, graph: Graph, images: np.ndarray, *, batch: int = 8) -> None:
        self.answers = raw_outputs(graph)
        self.images = images
        self.features = Features(graph, images, batch=batch)
        self._wanted = [dict(found) for found in self._stream(self.features)]
        self._spread = {
            one.name: self._variance(one.name) for one in self.answers if one.meaning == "values"
        }

    @property
    def said(self) -> str:
        """What is compared, in words."""
        return ", ".join(f"{one.meaning} of {one.name}" for one in self.answers)

    def error(self, features: Features) -> float:
        """Return the mean error over the answers of another network on the same images."""
        sums = np.zeros((len(self.answers), 2))
        for wanted, found in zip(self._wanted, self._stream(features), strict=True):
            for place, one in enumerate(self.answers):
                sums[place] += self._compare(one, wanted[one.name], found[one.name])
        return float((sums[:, 0] / np.maximum(sums[:, 1], 1.0)).mean())

    def error_of(self, graph: Graph) -> float:
        """Return the error of a network with tensors of the same names, run from the images."""
        return self.error(Features(graph, self.images, batch=self.features.batch))

    def _stream(self, features: Features) -> Iterator[Mapping[str, np.ndarray]]:
        return features.stream([one.name for one in self.answers])

    def _compare(self, one: RawOutput, a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
        """Return the sum of errors and how many there are."""
        if a.shape != b.shape:
            raise UnsupportedGraphError(
                f"{one.name}: {list(a.shape)} in the original, {list(b.shape)} in the other; "
                "answers of one shape are wanted"
            )
        a, b = a.astype(np.float64), b.astype(np.float64)
        if one.meaning == "values":
            rest = ((a - b) ** 2).sum(axis=_others(a))
            return float((rest / self._spread[one.name]).sum()), a.size
        if one.meaning.startswith("binary"):
            sure = one.meaning == "binary probabilities"
            p, q = (t if sure else 1 / (1 + np.exp(-t)) for t in (a, b))
            return float((_divergence(p, q) + _divergence(1 - p, 1 - q)).sum()), a.size
        axis = -1 if one.axis is None else one.axis
        if one.meaning == "logits":
            a, b = (_softmax(t, axis) for t in (a, b))
        return float(_divergence(a, b).sum()), a.size // a.shape[axis]

    def _variance(self, name: str) -> np.ndarray:
        """Return the variance of each channel, at least a little of the mean of all."""
        first, second, count = np.float64(0), np.float64(0), 0
        for found in self._wanted:
            values = found[name].astype(np.float64)
            first = first + values.sum(axis=_others(values))
            second = second + (values**2).sum(axis=_others(values))
            count += values.size // (values.shape[1] if values.ndim > 1 else 1)
        variance = np.asarray(second / count - (first / count) ** 2)
        return np.asarray(np.maximum(variance, 1e-3 * float(variance.mean()) + LEAST))


def _others(values: np.ndarray) -> tuple[int, ...]:
    return tuple(axis for axis in range(values.ndim) if axis != 1)


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray(p * (np.log(np.maximum(p, LEAST)) - np.log(np.maximum(q, LEAST))))


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))
