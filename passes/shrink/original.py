"""The original network on the images, with results cached for all networks made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..graph import Graph
from ..running.calibrate import Statistics
from ..running.features import BATCH, MEMORY, Arrays, Features, room_for
from .channel_statistics import conv_statistics


class Original:
    """A network from which others are made, and its features.

    graph    left as it is
    images   (N, C, H, W) float32
    keep     keep all tensors that were streamed, so that they are computed once, however many
             networks are made; in a temporary file where they take more than ``memory`` bytes
    """

    def __init__(
        self,
        graph: Graph,
        images: np.ndarray,
        *,
        batch: int = BATCH,
        keep: bool = False,
        memory: int = MEMORY,
    ) -> None:
        self.graph = graph
        self.images = images
        self.batch = Features(graph, images, batch=batch).batch
        self.keep = keep
        self.memory = memory
        self._features = Features(graph, images, batch=batch)
        self._tensors: dict[str, np.ndarray] = {}
        self._statistics: dict[str, Statistics] = {}

    def at(self, place: int) -> Features:
        """Return its features at a place of the order of its nodes."""
        if self._features.place > place:
            self._features = Features(self.graph, self.images, batch=self.batch)
        self._features.advance(place)
        return self._features

    def stream(self, place: int, names: Sequence[str]) -> Iterator[Arrays]:
        """Yield tensors that are computed after ``place``, batch by batch."""
        if not self.keep:
            yield from self.at(place).stream(names)
            return
        missing = [name for name in dict.fromkeys(names) if name not in self._tensors]
        if missing:
            self._tensors.update(self._computed(place, missing))
        for start in range(0, len(self.images), self.batch):
            part = slice(start, start + self.batch)
            yield {name: np.asarray(self._tensors[name][part]) for name in names}

    def statistics(self) -> Mapping[str, Statistics]:
        """Return the output statistics of each convolution, by tensor."""
        if not self._statistics:
            self._statistics = conv_statistics(self.graph, self.images)
        return self._statistics

    def _computed(self, place: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        start = 0
        for batch in self.at(place).stream(names):
            for name, values in batch.items():
                if name not in arrays:
                    others = [*self._tensors.values(), *arrays.values()]
                    shape = (len(self.images), *values.shape[1:])
                    arrays[name] = room_for(shape, values.dtype, others, self.memory)
                arrays[name][start : start + len(values)] = values
            start += self.batch
        return arrays
