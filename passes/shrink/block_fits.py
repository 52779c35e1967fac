"""Blocks fitted to fewer hidden channels, each separately: candidates of a super network."""

from __future__ import annotations

import numpy as np

from ..blocks.block import Block
from ..blocks.edit import unit_arrays
from ..blocks.hidden_channels import HiddenChannels, find_hidden
from ..blocks.units import unit_of
from ..graph import Graph
from ..remap.block_arrays import BlockArrays
from .linear import why_not_fitted
from .narrowing import Narrowing
from .original import Original


class BlockFits:
    """Fits the blocks of a seed on its own features of some images.

    graph   the seed; a copy of it is worked on
    images  (N, C, H, W) float32, preprocessed

    Blocks are best asked for in the order of the network: features are kept where it has come to.
    """

    def __init__(self, graph: Graph, images: np.ndarray, *, batch: int = 8) -> None:
        seed = graph.copy()
        seed.refresh_shapes()
        self._sets, self._left = find_hidden(seed)
        self._narrowing = Narrowing(Original(seed, images, batch=batch))
        self._known: dict[tuple[str, int], tuple[BlockArrays, float] | str] = {}

    def narrowed(self, block: Block, hidden: int) -> tuple[BlockArrays, float] | str:
        """Return the block's arrays with ``hidden`` channels and the relative error of what its
        last convolution leaves, or why it cannot be fitted.
        """
        key = (block.node_name, hidden)
        if key not in self._known:
            self._known[key] = self._fitted(block, hidden)
        return self._known[key]

    def _fitted(self, block: Block, hidden: int) -> tuple[BlockArrays, float] | str:
        names = {unit.conv.name for unit in block.units.values()}
        inner = [one for one in self._sets if self._is_inside(one, names)]
        inner = [one for one in inner if one.count == block.form.hidden]
        if not inner:
            return "no convolution of its own makes its hidden channels"
        for one in inner:
            for reading in one.readings:
                why = why_not_fitted(reading.node)
                if why is not None:
                    return why
        self._narrowing.advance(self._narrowing.place(inner[0].name))
        twin = self._narrowing.fork()
        step = [twin.narrow(one.name, hidden) for one in inner][-1]
        arrays = {}
        for role, unit in block.units.items():
            node = twin.result.nodes[twin.place(unit.conv.name)]
            arrays[role] = unit_arrays(unit_of(twin.result, node))
            if (arrays[role].bias is None) != (unit.bias is None):
                return f"{unit.conv.name} has neither bias nor norm to take a constant"
        return arrays, max(step.error.values())

    @staticmethod
    def _is_inside(channels: HiddenChannels, names: set[str]) -> bool:
        makers = [node.name for node in (*channels.makers, *channels.grouped)]
        return names.issuperset([*makers, *(r.node.name for r in channels.readings)])
