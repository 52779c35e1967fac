"""The interface of a data set: its classes, its splits, its samples.

A sample is an image and *one* tensor, the truth; what is in it depends on the task:

    seg   uint8 (H, W)      class ids, 255 = ignore
    det   float32 (n, 5)    boxes x0, y0, x1, y1 in pixels and the class id, one row a box
    pose  float32 (K, 3)    x, y in pixels, visibility (0 not labelled, 1 hidden, 2 visible); as a
                            data set gives it, two rows more: x, y of the centre and width, height
                            of the window that a transform cuts out (fnac.data.persons)
    cls   int64 ()          class id
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = 255
"""The mask value that neither the loss nor the metric counts."""

Sample: TypeAlias = "tuple[Tensor, Tensor]"
Batch: TypeAlias = "tuple[Tensor, Tensor]"


class Dataset(Protocol):
    """One split: images and truths by index."""

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 (3, H, W), RGB, and the truth of the task."""
        ...

    def id(self, index: int) -> str:
        """Name the sample (a file's stem, a scene's number), for images and messages."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """A dataset that wraps another one's samples."""

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the underlying dataset, and the index there of sample ``index``."""
        ...


def source_sample(dataset: Dataset, index: int) -> tuple[Dataset, int]:
    """Return the innermost dataset that sample ``index`` comes from, and its index there.

    What only one kind of data set has (box areas, head sizes) is asked of that one.
    """
    while isinstance(dataset, Wrapper):
        dataset, index = dataset.origin(index)
    return dataset, index


class DataSource(Protocol):
    """A data set: what ``open_data`` returns."""

    @property
    def name(self) -> str:
        """The reader's name."""
        ...

    @property
    def classes(self) -> list[str]:
        """Class names, by the ids in the truths; for pose the names of the joints."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """The existing splits among ``train``, ``val``, ``test``."""
        ...

    def split(self, name: str) -> Dataset:
        """Return one split; raises DataError if the data set does not have it."""
        ...

    def check(self, splits: Sequence[str] | None = None) -> None:
        """Check every file (of these splits; default all); DataError names the first broken one."""
        ...
