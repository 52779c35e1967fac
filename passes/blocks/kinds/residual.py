"""ResNet's blocks: two dense convolutions (basic) or a spatial one between two 1x1 (bottleneck)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph.convolution import Conv
from ...remap.block_arrays import BlockArrays
from ...remap.residual import Inner, mask_residual, remap_residual
from ...remap.strategies import Strategy
from ..block import Block, Form
from ..candidate_names import Spelled, channels_of, multiple_of, spell

ROLES = {
    "basic": ("first", "second"),
    "bottleneck": ("reduce", "spatial", "restore"),
    "fused": ("first", "second"),
}
SHORTCUT = "shortcut"


@dataclasses.dataclass(frozen=True)
class ResidualBlock(Block):
    """Convolutions of the main path, a shortcut, their sum, [activation].

    Roles: ``first``, ``second`` (basic) or ``reduce``, ``spatial``, ``restore`` (bottleneck),
    ``squeeze``, ``excite`` with squeeze-excitation, and ``shortcut`` where it is projected.
    Searched are the window and the groups of the first or of the spatial convolution (FNA++
    Table VII), and the channels behind it: the block's hidden width.
    """

    @property
    def heart(self) -> str:
        """The first convolution of a basic block, the spatial one of a bottleneck."""
        return "spatial" if self.kind == "bottleneck" else "first"

    @property
    def last(self) -> str:
        """The last convolution of the main path."""
        return ROLES[self.kind][-1]

    @property
    def groups(self) -> int:
        """Groups of the searched convolution."""
        return Conv(self.units[self.heart].conv).groups

    @property
    def form(self) -> Form:
        """The block's own form."""
        return Form(self.kernel, self.units[self.heart].shape()[0], self.groups)

    @property
    def opens_search(self) -> bool:
        """Every residual block is searched."""
        return True

    @property
    def why_not_repeated(self) -> str | None:
        """A first convolution in groups cannot take another number of input channels."""
        first = self.units[ROLES[self.kind][0]].conv
        if self.in_channels != self.out_channels and Conv(first).groups > 1:
            return f"{first.name} has groups and reads {self.in_channels} channels, not the stage's"
        return None

    @property
    def passes_on(self) -> bool:
        """Say whether the shortcut is the identity."""
        return not self.shortcut and super().passes_on

    def spell(self, form: Form, *, added: bool = False) -> str:
        """Return ``k3g1``, and ``k3g1w1.5`` where the hidden width is not the seed's."""
        own = self.form.hidden
        width = None if form.hidden == own else multiple_of(form.hidden, own)
        return spell(form.kernel, groups=form.groups, width=width)

    def form_of(self, spelled: Spelled, *, added: bool) -> Form | Left | None:
        """Read ``k5g2``, ``k5g2w1.5``, or ``k5`` with its own groups.

        Groups must divide the channels and only split the seed's groups.
        """
        if spelled.expansion is not None:
            return None
        groups = self.groups if spelled.groups is None else spelled.groups
        own, per_group = self.units[self.heart].shape()[:2]
        rows = own if spelled.width is None else channels_of(spelled.width, own)
        if rows != own:
            why = self._why_not_width(rows)
            if why is not None:
                return Left(why)
        inputs = rows if self.heart in self._inner(rows).reads else per_group * self.groups
        if added and self.heart == "first":
            inputs = self.out_channels
        if groups % self.groups:
            return Left(f"its {self.groups} groups do not split into {groups}")
        if rows % groups or inputs % groups:
            return Left(f"{groups} groups do not divide {inputs} input and {rows} output channels")
        return Form(spelled.kernel, rows, groups)

    def remap(
        self,
        arrays: BlockArrays,
        form: Form,
        *,
        added: bool,
        how: Strategy,
        rng: np.random.Generator,
    ) -> tuple[BlockArrays, dict[str, str]]:
        """Remap kernel and groups; a copy that follows the block has an identity shortcut."""
        kept = {role: conv for role, conv in arrays.items() if not (added and role == SHORTCUT)}
        return remap_residual(
            kept,
            heart=self.heart,
            kernel=form.kernel,
            groups=form.groups,
            inner=self._inner(form.hidden),
            in_channels=self.out_channels if added else self.in_channels,
            how=how,
            rng=rng,
        )

    def known(self, form: Form, how: Strategy) -> bool:
        """What grouping drops is known, unless it separates channels that share their work."""
        if form.hidden <= self.form.hidden:
            return True
        return how.keeps_wider and (form.groups == 1 or how.grow != "replicate")

    def masked(self, arrays: BlockArrays, form: Form, how: Strategy) -> BlockArrays:
        """Zero the outer taps, the connections between groups and what reads dropped channels."""
        inner = self._inner(form.hidden)
        return mask_residual(arrays, self.heart, form.kernel, form.groups, inner, how)

    def _inner(self, hidden: int) -> Inner:
        """Say which convolutions produce and which read the hidden channels."""
        roles = ROLES[self.kind]
        makes, reads = roles[:-1], roles[1:]
        squeeze = self.units.get("squeeze")
        if squeeze is not None:
            pool = squeeze.input.inputs[0]
            if pool.inputs[0] is self.units[self.heart].output:
                makes, reads = (*makes, "excite"), (*reads, "squeeze")
        return Inner(hidden, makes, reads)

    def _why_not_width(self, hidden: int) -> str | None:
        if hidden < 1:
            return f"of {self.form.hidden} hidden channels none is left"
        for role in {*self._inner(hidden).makes, *self._inner(hidden).reads}:
            unit = self.units[role]
            if Conv(unit.conv).groups > 1:
                return f"{unit.conv.name} has groups, so the hidden width stays"
        if len({self.units[role].shape()[0] for role in ROLES[self.kind][:-1]}) > 1:
            return "its hidden channels change their number inside the block"
        return None

    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Read kernel and groups off the convolution at the heart's place on the main path."""
        adds = {id(node) for node in region if node.op == "Add"}
        main = []
        for conv in (node for node in region if node.op == "Conv"):
            reader = conv.outputs[0].outputs[0]
            if reader.op == "BatchNormalization":
                reader = reader.outputs[0].outputs[0]
            if id(reader) not in adds:  # neither the last one nor the shortcut's
                main.append(conv)
        place = ROLES[self.kind].index(self.heart)
        if len(main) <= place:
            return None
        heart = main[place]
        kernel, groups = int(heart.inputs[1].shape[-1]), Conv(heart).groups
        hidden = int(heart.inputs[1].shape[0])
        return self.spell(Form(kernel, hidden, groups)), heart
