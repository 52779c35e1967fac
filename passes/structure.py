"""What is found in a network: blocks, stages, and why the rest is left alone."""

from __future__ import annotations

import dataclasses

import onnx_graphsurgeon as gs

from .units import ConvUnit


@dataclasses.dataclass(frozen=True)
class Block:
    """One MBConv: [1x1 expansion], depthwise, linear 1x1 projection, [residual add].

    ``entry`` is the tensor it reads, ``output`` the one it leaves; no other tensor of it is read
    outside. ``kernel``, ``stride`` and ``dilation`` are the depthwise convolution's.
    """

    kind: str
    entry: gs.Tensor
    output: gs.Tensor
    expand: ConvUnit | None
    depthwise: ConvUnit
    project: ConvUnit
    residual: gs.Node | None
    kernel: int
    stride: int
    dilation: int
    in_channels: int
    hidden: int
    out_channels: int

    @property
    def units(self) -> tuple[ConvUnit, ...]:
        """The convolution units in execution order."""
        first = () if self.expand is None else (self.expand,)
        return (*first, self.depthwise, self.project)

    @property
    def nodes(self) -> tuple[gs.Node, ...]:
        """Every node of the block; the last one leaves ``output``."""
        inner = [node for unit in self.units for node in unit.nodes]
        return (*inner, *((self.residual,) if self.residual is not None else ()))

    @property
    def expansion(self) -> float:
        """Hidden channels per input channel."""
        return self.hidden / self.in_channels

    @property
    def name(self) -> str:
        """The block as a candidate: ``k3e6``."""
        return candidate_name(self.kernel, self.expansion)

    @property
    def node_name(self) -> str:
        """The name reports use for the block: its depthwise convolution's."""
        return str(self.depthwise.conv.name)

    @property
    def expands(self) -> bool:
        """Say whether the hidden width is larger than the input's."""
        return self.expand is not None and self.hidden > self.in_channels


@dataclasses.dataclass(frozen=True)
class Stage:
    """Consecutive blocks of one output stride (relative to the network's input) and width."""

    index: int
    blocks: tuple[Block, ...]
    output_stride: float
    width: int

    @property
    def searchable(self) -> bool:
        """Say whether a block of the stage expands; a stem stage (e1) stays as it is."""
        return any(block.expands for block in self.blocks)


@dataclasses.dataclass(frozen=True)
class Structure:
    """The stages of a network in order; ``left``: convolution's name -> why it is in no block."""

    stages: tuple[Stage, ...]
    left: dict[str, str]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block in network order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @property
    def searchable(self) -> tuple[Stage, ...]:
        """The stages that a search space applies to, in order."""
        return tuple(stage for stage in self.stages if stage.searchable)


def candidate_name(kernel: int, expansion: float) -> str:
    """Spell a candidate: ``k5e6``; an expansion that is no whole number gets two decimals."""
    return f"k{kernel}e{round(expansion, 2):g}"
