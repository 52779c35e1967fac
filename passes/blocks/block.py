"""The interface of a block: what is found in a network, grown, mixed and costed.

A kind of block is a subclass of :class:`Block` with a pattern that finds it (:mod:`.find`).
Growing, mixing, proving and choosing know blocks by this interface alone.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..decisions import Left
from ..graph.convolution import Conv
from ..remap.block_arrays import BlockArrays
from ..remap.strategies import Strategy
from .candidate_names import Spelled
from .units import ConvUnit


@dataclasses.dataclass(frozen=True)
class Form:
    """What a search may change of a block.

    ``kernel``, ``groups``  of its searched convolution
    ``hidden``              channels inside the block, behind its first convolution
    """

    kernel: int
    hidden: int
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Block(abc.ABC):
    """A region with one entry and one exit: the unit of depth.

    ``kind``      ``mbconv``, ``basic``, ...
    ``entry``     the tensor that its candidates read
    ``output``    the one they leave; no other tensor of the block is read outside
    ``units``     its convolutions by role, in execution order
    ``nodes``     every node in the graph's order; the last one leaves ``output``
    ``residual``  the Add of a shortcut, if there is one
    ``shortcut``  what stands between the entry and the Add; () where it is the identity
    """

    kind: str
    entry: gs.Tensor
    output: gs.Tensor
    units: Mapping[str, ConvUnit]
    nodes: tuple[gs.Node, ...]
    residual: gs.Node | None
    in_channels: int
    out_channels: int
    shortcut: tuple[gs.Node, ...] = ()

    # ------------------------------------------------------------------ what it is

    @property
    @abc.abstractmethod
    def heart(self) -> str:
        """Role of the convolution whose kernel is searched."""

    @property
    @abc.abstractmethod
    def last(self) -> str:
        """Role of the convolution whose output the residual adds; zeroed, it adds nothing."""

    @property
    @abc.abstractmethod
    def form(self) -> Form:
        """The block's own form."""

    @property
    def name(self) -> str:
        """The block as a candidate: ``k3e6``, ``k3g1``."""
        return self.spell(self.form)

    @property
    def node_name(self) -> str:
        """The name reports use for the block: that of its searched convolution."""
        return str(self.units[self.heart].conv.name)

    @property
    def dtype(self) -> np.dtype:
        """Type of the weights."""
        kind: np.dtype = np.dtype(self.units[self.heart].weight.dtype)
        return kind

    @property
    def kernel(self) -> int:
        """Side of the searched kernel."""
        return int(self.units[self.heart].shape()[-1])

    @property
    def stride(self) -> int:
        """Ratio of the entry's size to the output's."""
        return max(Conv(unit.conv).strides[0] for unit in self.units.values())

    @property
    def dilation(self) -> int:
        """Dilation of the searched convolution."""
        return Conv(self.units[self.heart].conv).dilations[0]

    @property
    def reads(self) -> gs.Tensor:
        """The tensor that the block reads as a unit of depth (see ``whole``)."""
        return self.entry

    @property
    def whole(self) -> Block:
        """The block including parts that other nodes share; copies are made from it."""
        return self

    @property
    def width(self) -> int:
        """Channels that the block reads."""
        return self.in_channels

    # ------------------------------------------------------------------ what it may become

    @property
    @abc.abstractmethod
    def opens_search(self) -> bool:
        """Say whether the block lets the search begin at its stage; stem blocks do not."""

    @property
    @abc.abstractmethod
    def why_not_repeated(self) -> str | None:
        """Say why no copy of the block can follow it; None if one can."""

    @property
    def why_not_silenced(self) -> str | None:
        """Say why zeroing its last convolution would not make a copy of the block add nothing."""
        return None

    @property
    def repeated_form(self) -> Form:
        """The form of a copy that follows the block, in proportion."""
        return self.form

    @property
    def copied_form(self) -> Form:
        """The form of a copy that follows the block and computes the same function of its input."""
        return self.form

    @property
    def passes_on(self) -> bool:
        """Say whether the block may be left out: its input and output agree."""
        same = self.stride == 1 and self.in_channels == self.out_channels
        return same and all(Conv(unit.conv).keeps_size for unit in self.units.values())

    @abc.abstractmethod
    def spell(self, form: Form, *, added: bool = False) -> str:
        """Return the candidate name of ``form`` of this block, or of a copy that follows it."""

    @abc.abstractmethod
    def form_of(self, spelled: Spelled, *, added: bool) -> Form | Left | None:
        """Return the form that a candidate's name describes, or why the block cannot take it.

        None if the name is meant for blocks of another kind. ``added``: of a copy behind the block.
        """

    # ------------------------------------------------------------------ what it becomes

    @abc.abstractmethod
    def remap(
        self,
        arrays: BlockArrays,
        form: Form,
        *,
        added: bool,
        how: Strategy,
        rng: np.random.Generator,
    ) -> tuple[BlockArrays, dict[str, str]]:
        """Remap the block's arrays to another form; ``added``: of a copy that follows the block.

        A role that the block lacks stands in front of it as a 1x1 convolution; a copy behind it
        needs no shortcut. Also returns part -> what became of it.

        Raises StrategyError if the strategy cannot work on this block.
        """

    @abc.abstractmethod
    def known(self, form: Form, how: Strategy) -> bool:
        """Say whether the function of ``form`` is known without remapping the block."""

    @abc.abstractmethod
    def masked(self, arrays: BlockArrays, form: Form, how: Strategy) -> BlockArrays:
        """Return the arrays with zeros where ``form`` has nothing; the shapes stay."""

    def activates_entry(self, form: Form, *, added: bool) -> bool:
        """Say whether ``form`` puts an activation between the entry and the searched window."""
        return False

    @abc.abstractmethod
    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Return the candidate name that ``region`` implements, and the node that shows it."""
