"""The attributes of a convolution, with defaults filled in."""

from __future__ import annotations

import dataclasses

import onnx_graphsurgeon as gs

from .surgery import ints


@dataclasses.dataclass(frozen=True)
class Conv:
    """A look at a 2-D Conv ``node`` (or ConvTranspose) whose weight (out, in / groups, k, k) has
    a known shape; it stores nothing, so it sees what the node says now.
    """

    node: gs.Node

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.node.attrs.get("group", 1))

    @property
    def rows(self) -> int:
        """Output channels of a Conv."""
        return int(self.node.inputs[1].shape[0])

    @property
    def inputs_a_group(self) -> int:
        """Input channels that an output channel of a Conv reads."""
        return int(self.node.inputs[1].shape[1])

    @property
    def channels(self) -> int:
        """Input channels of a Conv."""
        return self.inputs_a_group * self.groups

    @property
    def window(self) -> tuple[int, ...]:
        """Height and width of the kernel."""
        return tuple(int(d) for d in self.node.inputs[1].shape[2:])

    @property
    def strides(self) -> tuple[int, int]:
        """Vertical and horizontal stride."""
        return pair(self.node, "strides")

    @property
    def dilations(self) -> tuple[int, int]:
        """Vertical and horizontal dilation."""
        return pair(self.node, "dilations")

    @property
    def pads(self) -> list[int]:
        """Zero padding: top, left, bottom, right."""
        return ints(self.node, "pads", 0, 4)

    @property
    def is_depthwise(self) -> bool:
        """Say whether each output channel reads its own single input channel."""
        return self.reads_one_channel and self.groups == self.rows

    @property
    def reads_one_channel(self) -> bool:
        """Say whether an output channel reads one of several input channels.

        That is a depthwise convolution, maybe with several outputs for each channel.
        """
        return self.groups > 1 and self.inputs_a_group == 1

    @property
    def keeps_size(self) -> bool:
        """Say whether padding keeps height and width, the stride being 1."""
        top, left, bottom, right = self.pads
        lost = [(k - 1) * d for k, d in zip(self.window, self.dilations, strict=True)]
        return [top + bottom, left + right] == lost


def pair(node: gs.Node, attribute: str) -> tuple[int, int]:
    """Return a vertical and a horizontal number (``strides``, ``dilations``); 1 if not given."""
    values = node.attrs.get(attribute) or [1, 1]
    return int(values[0]), int(values[-1])


def why_padding_not_explicit(node: gs.Node) -> str | None:
    """Say why ``pads`` is not what a convolution or pooling pads with; None if it is."""
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return f"its padding is {node.attrs['auto_pad']}, not explicit"
    return None
