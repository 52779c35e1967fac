"""A single convolution as a block, searched where no larger block is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph import Graph
from ...graph.convolution import Conv
from ...remap.block_arrays import BlockArrays
from ...remap.residual import Inner, mask_residual, remap_residual
from ...remap.strategies import Strategy
from ..block import Block, Form
from ..candidate_names import Spelled, spell
from ..units import ConvUnit, why_not_stored
from ..windows import why_window_fixed

CONV = "conv"


@dataclasses.dataclass(frozen=True)
class PlainBlock(Block):
    """A convolution with its BN and activation; kernel, and groups if it is dense, are searched.

    Its channels stay, whoever else they are coupled with: residual adds, concatenations, shuffles.
    """

    @property
    def heart(self) -> str:
        """The convolution."""
        return CONV

    @property
    def last(self) -> str:
        """The convolution."""
        return CONV

    @property
    def groups(self) -> int:
        """Groups of the convolution."""
        return Conv(self.units[CONV].conv).groups

    @property
    def form(self) -> Form:
        """The block's own form."""
        return Form(self.kernel, self.units[CONV].shape()[0], self.groups)

    @property
    def opens_search(self) -> bool:
        """Plain blocks are found only where they are to be searched."""
        return True

    @property
    def why_not_repeated(self) -> str | None:
        """A copy would change what the network computes."""
        return f"{self.node_name} has no residual: a copy after it would change the result"

    def spell(self, form: Form, *, added: bool = False) -> str:
        """Return ``k5``, or ``k5g2`` where the groups are not the seed's."""
        return spell(form.kernel, groups=None if form.groups == self.groups else form.groups)

    def form_of(self, spelled: Spelled, *, added: bool) -> Form | Left | None:
        """Read ``k5``, and ``k5g2`` for a dense convolution."""
        if spelled.expansion is not None or spelled.width is not None:
            return None
        groups = self.groups if spelled.groups is None else spelled.groups
        rows, per_group = self.units[CONV].shape()[:2]
        inputs = per_group * self.groups
        if groups != self.groups and self.groups > 1:
            return None if self.groups == inputs else Left("its groups stay as they are")
        if inputs % groups or rows % groups:
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
        """Remap kernel and groups of the searched convolution."""
        first = next(iter(arrays.values()))
        return remap_residual(
            arrays,
            heart=CONV,
            kernel=form.kernel,
            groups=form.groups,
            inner=Inner(form.hidden),
            in_channels=int(first.weight.shape[1]) * first.groups,
            how=how,
            rng=rng,
        )

    def known(self, form: Form, how: Strategy) -> bool:
        """What grouping drops is known under every strategy that remaps."""
        return True

    def masked(self, arrays: BlockArrays, form: Form, how: Strategy) -> BlockArrays:
        """Zero the outer taps and the connections between groups."""
        inner = Inner(form.hidden)
        return mask_residual(arrays, CONV, form.kernel, form.groups, inner, how)

    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Read kernel and groups off the convolution."""
        conv = region[0]
        groups = Conv(conv).groups
        form = Form(int(conv.inputs[1].shape[-1]), self.out_channels, groups)
        return self.spell(form), conv


def match_plain(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> PlainBlock | Left | None:
    """Return the block of the Conv ``node`` if its window can grow about its centre.

    The window is odd, square and larger than 1x1, its padding explicit and its weight its own. The
    convolution that reads the network's input is the stem, which stays. Returns why it is no such
    block, or None for a 1x1 convolution.
    """
    why = why_not_stored(node)
    if why is not None:
        return Left(why)
    if max(node.inputs[1].shape[2:]) == 1:
        return None
    if any(node.inputs[0] is tensor for tensor in graph.inputs):
        return Left("it reads the network's input: the stem stays as it is")
    if isinstance(node.inputs[0], gs.Constant):
        return Left("it reads a stored tensor")
    why = why_window_fixed(node)
    if why is not None:
        return Left(why)
    unit = units[id(node)]
    return PlainBlock(
        kind="plain",
        entry=unit.input,
        output=unit.output,
        units={CONV: unit},
        nodes=unit.nodes,
        residual=None,
        in_channels=Conv(node).channels,
        out_channels=Conv(node).rows,
    )
