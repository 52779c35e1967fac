"""The loader: a function of the step, whatever the workers, the rank or the start."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from fnac.data import open_data
from fnac.data.loader import Cached, EpochLoader, Subset, split
from fnac.data.source import source_sample
from fnac.data.transforms.pictures import EvalTransform, TrainTransform, resize_pair
from fnac.errors import DataError, UsageError


@dataclass(frozen=True)
class Numbers:
    """Sample i is an image of value i; ``broken`` raises."""

    count: int
    broken: int = -1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.broken:
            raise DataError("p.png: broken")
        return (
            torch.full((3, 4, 4), index, dtype=torch.uint8),
            torch.full((4, 4), index, dtype=torch.uint8),
        )

    def id(self, index: int) -> str:
        return str(index)


PLAIN = EvalTransform((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def numbers(loader: EpochLoader, step: int) -> list[int]:
    return [int(v) for v in loader.batch(step)[1][:, 0, 0]]


def scenes(**settings: int) -> EpochLoader:
    dataset = open_data("scenes:train=20,size=48").split("train")
    return EpochLoader(dataset, TrainTransform((48, 48), colour=0.2), 4, random_seed=11, **settings)


def test_an_epoch_holds_every_sample_once_and_orders_differ() -> None:
    loader = EpochLoader(Numbers(20), PLAIN, 4, random_seed=1)
    assert len(loader) == 5
    epochs = [[n for s in range(5) for n in numbers(loader, 5 * e + s)] for e in range(3)]
    assert all(sorted(e) == list(range(20)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 3
    other = EpochLoader(Numbers(20), PLAIN, 4, random_seed=2)
    assert numbers(other, 0) != numbers(loader, 0)


def test_short_batch_is_left_out_or_kept() -> None:
    assert len(EpochLoader(Numbers(10), PLAIN, 4)) == 2
    kept = EpochLoader(Numbers(10), PLAIN, 4, shuffle=False, drop_last=False)
    assert [numbers(kept, s) for s in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_start_and_any_workers_give_the_same_batches(workers: int) -> None:
    wanted = [scenes().batch(s) for s in range(12)]
    for start in (0, 7):
        stream = scenes(workers=workers).iterate(start)
        got = list(itertools.islice(stream, 12 - start))
        stream.close()  # type: ignore[attr-defined]
        for (a, b), (c, d) in zip(wanted[start:], got, strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


def test_a_sample_changes_from_epoch_to_epoch() -> None:
    loader = EpochLoader(
        open_data("scenes:train=4,size=48").split("train"), TrainTransform((48, 48)), 4,
        shuffle=False,
    )  # fmt: skip
    assert not torch.equal(loader.batch(0)[0], loader.batch(1)[0])


def test_ranks_share_the_global_batch() -> None:
    whole = EpochLoader(Numbers(24), PLAIN, 6, random_seed=3)
    ranks = [
        EpochLoader(Numbers(24), PLAIN, 6, random_seed=3, rank=r, world_size=3) for r in range(3)
    ]
    for step in range(9):
        parts = [numbers(r, step) for r in ranks]
        assert [len(p) for p in parts] == [2, 2, 2]
        assert sorted(itertools.chain(*parts)) == sorted(numbers(whole, step))


def test_refusals() -> None:
    with pytest.raises(UsageError, match="batch size 6; wanted a multiple of the 4 processes"):
        EpochLoader(Numbers(24), PLAIN, 6, world_size=4)
    with pytest.raises(UsageError, match="5 images do not fill one batch of 8"):
        EpochLoader(Numbers(5), PLAIN, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_sample_is_heard_of(workers: int) -> None:
    loader = EpochLoader(Numbers(8, broken=5), PLAIN, 2, shuffle=False, workers=workers)
    stream = loader.iterate(0, 4)
    next(stream)
    next(stream)
    with pytest.raises(DataError, match=r"p\.png: broken"):
        next(stream)


def test_iterate_stops_and_ends_its_threads() -> None:
    loader = EpochLoader(Numbers(8), PLAIN, 2, workers=2)
    assert len(list(loader.iterate(1, 4))) == 3
    stream = loader.iterate()
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(t.name.startswith("fnac-data") for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("fraction", "first"), [(0.5, 10), (0.8, 16), (0.001, 1), (0.999, 19)])
def test_split_deals_all_samples(fraction: float, first: int) -> None:
    a, b = split(Numbers(20), fraction, random_seed=4)
    assert (len(a), len(b)) == (first, 20 - first)
    assert sorted(a.chosen + b.chosen) == list(range(20))
    assert (a, b) == split(Numbers(20), fraction, random_seed=4)
    assert a.id(0) == str(a.chosen[0])
    assert int(b[0][1][0, 0]) == b.chosen[0]


def test_split_depends_on_the_seed() -> None:
    assert split(Numbers(20), 0.5, random_seed=1) != split(Numbers(20), 0.5, random_seed=2)
    with pytest.raises(UsageError, match="wanted at least two images"):
        split(Numbers(1), 0.5)


def test_cached_decodes_once_and_resizes() -> None:
    reads = []

    class Counted(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            reads.append(index)
            return super().__getitem__(index)

    cached = Cached(Counted(3), lambda image, mask: resize_pair(image, mask, (2, 6)))
    for _ in range(2):
        for i in range(3):
            image, mask = cached[i]
            assert image.shape == (3, 2, 6)
            assert mask.shape == (2, 6)
            assert int(mask[0, 0]) == i
    assert reads == [0, 1, 2]
    assert len(cached) == 3
    assert cached.id(1) == "1"


def test_subset_of_cached_trains_the_same() -> None:
    """A cache resized to the evaluation size changes nothing for flip-only training."""
    dataset = open_data("scenes:train=6,size=64").split("train")
    transform = TrainTransform((32, 32), scale=(1, 1))
    plain = EpochLoader(Subset(dataset, (0, 2, 4)), transform, 3)
    kept = Cached(dataset, lambda image, mask: resize_pair(image, mask, (32, 32)))
    cached = EpochLoader(Subset(kept, (0, 2, 4)), transform, 3)
    assert source_sample(Subset(kept, (0, 2, 4)), 1) == (dataset, 2)
    assert all(map(torch.equal, plain.batch(5), cached.batch(5)))
    assert np.unique(plain.batch(5)[1]).size > 1
