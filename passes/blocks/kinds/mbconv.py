"""MBConv, MobileNetV2's inverted residual, as a block; with or without squeeze-excitation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph.convolution import Conv
from ...remap.block_arrays import BlockArrays
from ...remap.mbconv import mask_mbconv, remap_mbconv
from ...remap.strategies import Strategy
from ..block import Block, Form
from ..candidate_names import Spelled, channels_of, multiple_of, spell
from ..units import ConvUnit


@dataclasses.dataclass(frozen=True)
class MBConvBlock(Block):
    """[1x1 expansion], depthwise, [squeeze-excitation], linear 1x1 projection, [residual add].

    Roles: ``expand`` (missing in a block without expansion), ``depthwise``, ``squeeze`` and
    ``excite`` (both or neither), ``project``; and ``start`` where a linear depthwise convolution
    stands between the entry of a residual and the expansion (MobileNetV4): it stays as it is.

    ``tapped``  an expansion that a head reads as well. The block then begins behind it: all
                candidates share it, so its hidden width is fixed and only the kernel varies.
    """

    tapped: ConvUnit | None = None
    untapped: Block | None = None

    @property
    def heart(self) -> str:
        """The depthwise convolution."""
        return "depthwise"

    @property
    def last(self) -> str:
        """The projection."""
        return "project"

    @property
    def expand(self) -> ConvUnit | None:
        """The expansion, if it belongs to this block only."""
        return self.units.get("expand")

    @property
    def depthwise(self) -> ConvUnit:
        """The depthwise convolution with its BN and activation."""
        return self.units["depthwise"]

    @property
    def project(self) -> ConvUnit:
        """The projection with its BN."""
        return self.units["project"]

    @property
    def hidden(self) -> int:
        """Channels of the depthwise convolution."""
        return self.depthwise.shape()[0]

    @property
    def form(self) -> Form:
        """The block's own form."""
        return Form(self.kernel, self.hidden, self.hidden)

    @property
    def reads(self) -> gs.Tensor:
        """The entry, or the input of a shared expansion."""
        return self.entry if self.tapped is None else self.tapped.input

    @property
    def whole(self) -> Block:
        """The block with its expansion, shared or not."""
        return self if self.untapped is None else self.untapped

    @property
    def width(self) -> int:
        """Number of channels that the expansion is relative to."""
        return self.in_channels if self.tapped is None else self.tapped.shape()[1]

    @property
    def expansion(self) -> float:
        """Hidden channels per input channel."""
        return self.hidden / self.width

    @property
    def opens_search(self) -> bool:
        """Say whether the hidden width is larger than the input's."""
        return (self.expand is not None or self.tapped is not None) and self.hidden > self.width

    @property
    def why_not_repeated(self) -> str | None:
        """A copy of an MBConv can always follow it, with a residual add."""
        return None

    @property
    def repeated_form(self) -> Form:
        """The same expansion, relative to the block's output."""
        if self.in_channels == self.out_channels:
            return self.form
        hidden = round(self.expansion * self.out_channels)
        return Form(self.kernel, hidden, hidden)

    @property
    def copied_form(self) -> Form:
        """The same hidden channels; without an expansion, the channels that the copy reads."""
        if self.expand is not None:
            return self.form
        return Form(self.kernel, self.out_channels, self.out_channels)

    @property
    def passes_on(self) -> bool:
        """Say whether the block may be left out; a head that reads its expansion forbids it."""
        return self.tapped is None and super().passes_on

    def spell(self, form: Form, *, added: bool = False) -> str:
        """Return ``k3e6``."""
        width = self.out_channels if added else self.width
        return spell(form.kernel, expansion=multiple_of(form.hidden, width))

    def form_of(self, spelled: Spelled, *, added: bool) -> Form | Left | None:
        """Read ``k5e6``, or ``k5`` with its own expansion; a tapped block takes no other."""
        if spelled.groups is not None or spelled.width is not None:
            return None
        width = self.out_channels if added else self.width
        if spelled.expansion is None:
            hidden = round(self.expansion * width)
        else:
            hidden = channels_of(spelled.expansion, width)
        if hidden < 1:
            return Left(f"expansion {spelled.expansion or 0:g} of {width} channels leaves none")
        if self.tapped is not None and hidden != self.hidden:
            own = multiple_of(self.hidden, self.width)
            return Left(f"a head reads its expansion, which stays e{own:g}")
        return Form(spelled.kernel, hidden, hidden)

    def remap(
        self,
        arrays: BlockArrays,
        form: Form,
        *,
        added: bool,
        how: Strategy,
        rng: np.random.Generator,
    ) -> tuple[BlockArrays, dict[str, str]]:
        """Remap kernel and hidden width; see :mod:`...remap.mbconv`."""
        return remap_mbconv(
            arrays,
            kernel=form.kernel,
            hidden=form.hidden,
            in_channels=self.out_channels if added else self.in_channels,
            how=how,
            rng=rng,
        )

    def known(self, form: Form, how: Strategy) -> bool:
        """A wider form is known where the strategy keeps the function."""
        return form.hidden <= self.hidden or how.keeps_wider

    def masked(self, arrays: BlockArrays, form: Form, how: Strategy) -> BlockArrays:
        """Zero the outer taps and what reads the dropped channels."""
        return mask_mbconv(arrays, kernel=form.kernel, hidden=form.hidden, how=how)

    def activates_entry(self, form: Form, *, added: bool) -> bool:
        """Say whether ``form`` adds an expansion (the identity, activated) that the block lacks."""
        entry = self.out_channels if added else self.in_channels
        return self.expand is None and form.hidden != entry

    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Read kernel and expansion off the depthwise convolution and the one before it."""
        convs = [node for node in region if node.op == "Conv"]
        convs = convs[1:] if "start" in self.units else convs
        for conv in convs:
            hidden, per_group, *window = conv.inputs[1].shape
            if per_group == 1 and Conv(conv).groups == hidden:
                width = hidden if conv is convs[0] else convs[0].inputs[1].shape[1]
                width = width if self.tapped is None else self.width
                return spell(int(window[0]), expansion=multiple_of(int(hidden), int(width))), conv
        return None
