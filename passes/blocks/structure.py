"""Stages of a network: blocks of one output stride and width."""

from __future__ import annotations

import dataclasses

from .block import Block


@dataclasses.dataclass(frozen=True)
class Stage:
    """Consecutive blocks of one output stride (relative to the network's input) and width."""

    index: int
    blocks: tuple[Block, ...]
    output_stride: float
    width: int

    @property
    def opens_search(self) -> bool:
        """Say whether one of its blocks opens the search."""
        return any(block.opens_search for block in self.blocks)


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
        """The stages that a search space applies to: from the first that opens the search on."""
        opening = next((i for i, s in enumerate(self.stages) if s.opens_search), len(self.stages))
        return self.stages[opening:]
