"""Widen MBConv blocks: the width level of the expansion (FNA++ Sec. 3.1.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..blocks.block import Block, Form
from ..blocks.edit import rewrite_block
from ..blocks.find import find_blocks
from ..blocks.kinds.mbconv import MBConvBlock
from ..graph import Graph
from ..remap.strategies import strategy


@dataclasses.dataclass(frozen=True)
class GrowWidth(Pass):
    """Give MBConv blocks ``expansion`` hidden channels per input channel.

    Matches  MBConv blocks with an expansion convolution and fewer hidden channels.
    Changes  expansion, depthwise and projection (and their BN), consistently, by ``strategy``.
    Keeps    interface, and outputs under every strategy but ``random``: the projection's weights
             for new channels are zero (``fna``, ``fna-live``) or split (``net2net``).

    random_seed  of the strategies that draw
    """

    name: ClassVar[str] = "grow-width"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    expansion: int = 6
    strategy: str = "fna"
    random_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown strategy."""
        strategy(self.strategy)

    def run(self, graph: Graph) -> Report:
        """Widen every block that is narrower, in place."""
        report = Report()
        structure = find_blocks(graph)
        report.left.update(structure.left)
        for number, block in enumerate(structure.blocks):
            rng = np.random.default_rng([self.random_seed, number])
            report.note(block.node_name, self._widen(graph, block, rng, report))
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield the result where the strategy keeps the function."""
        if strategy(self.strategy).keeps_wider:
            yield "the result", before, after

    def _widen(
        self, graph: Graph, block: Block, rng: np.random.Generator, report: Report
    ) -> Rewrote | Left | None:
        if not isinstance(block, MBConvBlock):
            return Left(f"it is a {block.kind} block, whose hidden width stays")
        hidden = self.expansion * block.width
        if block.tapped is not None:
            return Left("a head reads its expansion, whose width stays")
        if block.expand is None:
            return Left("it has no expansion convolution to widen")
        if block.hidden > hidden:
            return Left(f"it is wider already ({block.name})")
        if block.hidden == hidden:
            return None
        was = block.name
        rewrite_block(
            graph,
            block,
            Form(block.kernel, hidden, hidden),
            how=strategy(self.strategy),
            rng=rng,
            initializers=report.initializers,
        )
        return Rewrote(f"{was} -> k{block.kernel}e{self.expansion}")
