"""Batches as a function of the step: resumable, distributed, prefetched."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fnac.errors import UsageError

from .source import Batch, Dataset, Sample
from .transforms.pictures import Transform

CACHE_BYTES = 2 << 30

# Which stream of random numbers: the order of an epoch, a sample's transform, a split.
_ORDER, _SAMPLE, _SPLIT = 1, 2, 3


def stack(samples: Sequence[Sample]) -> Batch:
    """Stack samples of equal shapes: images (N, 3, h, w), truths (N, ...)."""
    return torch.stack([s[0] for s in samples]), torch.stack([s[1] for s in samples])


@dataclass(frozen=True)
class EpochLoader:
    """Batches of a dataset; ``batch(step)`` depends only on the settings and the step.

    batch_size: of all ranks together; each rank gets an equal part of it.
    random_seed: of the order and of every sample's transform; at least 0.
    workers: threads that prepare batches ahead in ``iterate``; 0 = in the caller's own. Results
        are the same with any number.
    shuffle: a new order each epoch, the same on all ranks.
    drop_last: leave out the short batch at the end of an epoch (needed with several ranks when
        training: otherwise their parts differ in length).
    collate: makes a batch of samples.
    """

    dataset: Dataset
    transform: Transform
    batch_size: int
    random_seed: int = 0
    rank: int = 0
    world_size: int = 1
    workers: int = 0
    shuffle: bool = True
    drop_last: bool = True
    collate: Callable[[Sequence[Sample]], Batch] = stack

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise UsageError(
                f"batch size {self.batch_size}; wanted a multiple of the {self.world_size} "
                "processes; change the batch size"
            )
        if self.batches_per_epoch == 0:
            raise UsageError(
                f"{len(self.dataset)} images do not fill one batch of {self.batch_size}; "
                "choose a smaller batch size, or add images"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Count the steps of an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return self.batches_per_epoch

    def indices(self, step: int) -> list[int]:
        """Return the dataset indices of this rank's part of the global batch ``step``."""
        epoch, position = divmod(step, self.batches_per_epoch)
        count = len(self.dataset)
        order = (
            _generator(self.random_seed, _ORDER, epoch).permutation(count) if self.shuffle else None
        )
        start, stop = position * self.batch_size, min(count, (position + 1) * self.batch_size)
        whole = range(start, stop) if order is None else [int(i) for i in order[start:stop]]
        return list(whole[self.rank :: self.world_size])

    def batch(self, step: int) -> Batch:
        """Return images float32 (n, 3, H, W) and their truths of the global step."""
        epoch = step // self.batches_per_epoch
        samples = []
        for index in self.indices(step):
            image, truth = self.dataset[index]
            random = _generator(self.random_seed, _SAMPLE, epoch, index)
            samples.append(self.transform(image, truth, random))
        return self.collate(samples)

    def iterate(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[Batch]:
        """Yield ``batch(start_step)``, ``batch(start_step + 1)``, ... prepared ahead.

        Endless without ``stop_step`` (which is not included). Close the iterator, or let it go
        out of scope, to end its threads; errors of a sample come out here.
        """
        if self.workers == 0:
            step = start_step
            while stop_step is None or step < stop_step:
                yield self.batch(step)
                step += 1
            return
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fnac-data")
        try:
            step = start_step
            while waiting or stop_step is None or step < stop_step:
                while len(waiting) <= self.workers and (stop_step is None or step < stop_step):
                    waiting.append(pool.submit(self.batch, step))
                    step += 1
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Subset:
    """Some samples of a dataset, by index."""

    dataset: Dataset
    chosen: tuple[int, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.chosen)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``chosen[index]`` of the dataset."""
        return self.dataset[self.chosen[index]]

    def id(self, index: int) -> str:
        """Name the sample as the dataset does."""
        return self.dataset.id(self.chosen[index])

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the underlying dataset and the index of the sample there."""
        return self.dataset, self.chosen[index]


def split(dataset: Dataset, fraction: float, random_seed: int = 0) -> tuple[Subset, Subset]:
    """Split the samples into two random subsets: ``fraction`` of them, and the rest.

    For a search: weights get the first, alphas the second (50:50 for segmentation and detection,
    80:20 for pose). Both keep the dataset's order and have at least one sample.
    """
    count = len(dataset)
    if count < 2 or not 0 < fraction < 1:
        raise UsageError(
            f"split of {count} images at {fraction}; wanted at least two images and a "
            "fraction between 0 and 1"
        )
    first = min(count - 1, max(1, round(fraction * count)))
    order = [int(i) for i in _generator(random_seed, _SPLIT).permutation(count)]
    return (
        Subset(dataset, tuple(sorted(order[:first]))),
        Subset(dataset, tuple(sorted(order[first:]))),
    )


@dataclass(frozen=True)
class Cached:
    """Keeps decoded samples in memory, first reduced by ``shrink`` if it is given.

    Samples are shared, so they must not be changed in place (no transform here does).
    """

    dataset: Dataset
    shrink: Callable[[Tensor, Tensor], Sample] | None = None
    _kept: dict[int, Sample] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W) and the truth."""
        sample = self._kept.get(index)
        if sample is None:
            image, truth = self.dataset[index]
            if self.shrink is not None:
                image, truth = self.shrink(image, truth)
            sample = image.contiguous(), truth.contiguous()
            self._kept[index] = sample
        return sample

    def id(self, index: int) -> str:
        """Name the sample as the dataset does."""
        return self.dataset.id(index)

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the underlying dataset and the index of the sample there."""
        return self.dataset, index


def keep_in_memory(
    dataset: Dataset,
    sample_bytes: int,
    shrink: Callable[[Tensor, Tensor], Sample] | None = None,
) -> Dataset:
    """Return ``dataset`` cached if its samples of this size take less than 2 GiB, else as it is."""
    if len(dataset) and sample_bytes * len(dataset) < CACHE_BYTES:
        return Cached(dataset, shrink)
    return dataset


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))
