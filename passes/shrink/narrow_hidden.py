"""Remove hidden channels and fit their readers, as a pass: the same share everywhere."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..blocks.hidden_channels import find_hidden
from ..errors import ArgumentError
from ..graph import Graph
from ..remap.eliminate import width_on_grid
from ..running.calibrate import read_images
from .linear import why_not_fitted
from .narrowing import Narrowing
from .original import Original


@dataclasses.dataclass(frozen=True)
class NarrowHidden(Pass):
    """Keep a share of the hidden channels, or given widths, with weights fitted in sequence.

    Matches  channels that convolutions produce and that only convolutions read.
    Changes  the channels that matter least are removed; their readers are fitted, on the features
             of the network narrowed so far, to the original's features; then the output mean
             and variance of every later convolution are restored to the original's.
    Keeps    the interface. If all channels stay, the network is bit-identical.

    share     of the channels of each set
    multiple  of which widths are multiples
    heads     in a task's head as well
    data      path of images (N, C, H, W), float32, preprocessed: .npy, or .npz with ``images``
    images    the same as an array; not an argument of the command line
    widths    convolution -> channels it produces; None: by ``share``
    """

    name: ClassVar[str] = "narrow-hidden"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    share: float = 0.5
    multiple: int = 8
    heads: bool = False
    data: str | None = None
    images: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)
    widths: dict[str, int] | None = dataclasses.field(default=None)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 < self.share <= 1:
            raise ArgumentError(f"narrow-hidden: share={self.share:g}; wanted above 0, at most 1")
        if self.multiple < 1:
            raise ArgumentError(f"narrow-hidden: multiple={self.multiple}; wanted at least 1")

    def run(self, graph: Graph) -> Report:
        """See the class. Raises ArgumentError without images."""
        images = read_images(self.data) if self.data is not None else self.images
        if images is None:
            raise ArgumentError("narrow-hidden: weights are fitted to images; give data=FILE.npy")
        report = Report()
        graph.refresh_shapes()
        sets, left = find_hidden(graph, heads=self.heads)
        report.left.update(left)
        narrowing = Narrowing(Original(graph, np.asarray(images, np.float32)))
        for channels in sets:
            reasons = [why_not_fitted(reading.node) for reading in channels.readings]
            why = next((reason for reason in reasons if reason is not None), None)
            if why is not None:
                report.note(channels.name, Left(why))
                continue
            width = self._width(channels.name, channels.count)
            step = narrowing.narrow(channels.name, width)
            if width < channels.count:
                error = max(step.error.values())
                said = f"{channels.count} -> {width}, error {error:.3g}"
                report.note(channels.name, Rewrote(said))
        if report.rewrote:
            narrowing.match()
            report.initializers.update(narrowing.initializers)
            narrowing.result.cleanup()
            graph.become(narrowing.result)
        return report

    def _width(self, name: str, count: int) -> int:
        if self.widths is not None:
            return min(count, self.widths.get(name, count))
        return width_on_grid(count, self.share, self.multiple)
