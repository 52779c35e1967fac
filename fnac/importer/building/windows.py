"""Kernel, stride, dilation and padding of windowed operators (Conv, pools), decoded once."""

from __future__ import annotations

import dataclasses

import torch.nn.functional as F

from fnac.passes.errors import UnsupportedGraphError

from ..runtime import windowed
from .builder import Builder
from .values import Node, Value


@dataclasses.dataclass(frozen=True)
class Window:
    """Sizes along each spatial axis; ``begin`` and ``end`` are None under auto_pad SAME."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...] | None
    end: tuple[int, ...] | None
    upper: bool

    @property
    def symmetric(self) -> tuple[int, ...] | None:
        """The padding if it is the same on both sides and known, else None."""
        return self.begin if self.begin is not None and self.begin == self.end else None

    def pad(self, builder: Builder, x: Value, value: float = 0.0) -> Value:
        """Pad explicitly, as the window requires."""
        if self.begin is None or self.end is None:
            padded: Value = builder.call(
                windowed.pad_same, x, self.kernel, self.stride, self.dilation, self.upper, value
            )
            return padded
        pads = [p for pair in reversed(list(zip(self.begin, self.end))) for p in pair]
        return builder.call(F.pad, x, pads, value=value) if any(pads) else x


def window(node: Node, kernel: tuple[int, ...]) -> Window:
    """Decode a node's window attributes.

    SAME padding at stride 1 is known without the image's size, so it is made explicit.
    Raises UnsupportedGraphError for a rank above 3 or an unknown auto_pad.
    """
    n = len(kernel)
    if not 1 <= n <= 3:
        raise UnsupportedGraphError(
            f"{node.label}: a window over {n} axes; windows over 1 to 3 axes are supported"
        )
    stride = tuple(node.get("strides") or [1] * n)
    dilation = tuple(node.get("dilations") or [1] * n)
    pads = tuple(node.get("pads") or [0] * (2 * n))
    auto = node.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""):
        raise UnsupportedGraphError(
            f"{node.label}: auto_pad {auto!r}; wanted NOTSET, VALID, SAME_UPPER or SAME_LOWER"
        )
    upper = auto == "SAME_UPPER"
    begin: tuple[int, ...] | None = pads[:n]
    end: tuple[int, ...] | None = pads[n:]
    if auto == "VALID":
        begin = end = (0,) * n
    elif auto.startswith("SAME"):
        begin = end = None
        if all(s == 1 for s in stride):
            total = [(k - 1) * d for k, d in zip(kernel, dilation)]
            small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
            begin, end = (small, large) if upper else (large, small)
    return Window(tuple(kernel), stride, dilation, begin, end, upper)
