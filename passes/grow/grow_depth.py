"""Deepen stages with copies of their last block: the depth level (FNA++ Sec. 3.1.1, Eq. 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..blocks.edit import block_arrays, build_twin
from ..blocks.find import find_blocks
from ..blocks.structure import Stage
from ..errors import ArgumentError, UnsupportedGraphError
from ..graph import Graph
from ..graph.surgery import set_output
from ..remap.block_arrays import BlockArrays
from ..remap.strategies import strategy

VARIANTS = ("fna", "preserving")


@dataclasses.dataclass(frozen=True)
class GrowDepth(Pass):
    """Deepen a stage to ``depth`` blocks; the new ones are remapped from its last (Eq. 1).

    Matches  stage number ``stage``, or every searchable stage, if shallower.
    Changes  inserts blocks of stride 1 with a residual add after the last block; the new last
             block takes over its output name.
    Keeps    interface. ``variant=fna`` copies the block, which changes the outputs;
             ``variant=preserving`` silences the copy (last BN's gamma and beta 0, or the
             last convolution 0 where there is no BN), so that each new block computes its input.
    """

    name: ClassVar[str] = "grow-depth"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    depth: int = 4
    stage: int | None = None
    variant: str = "fna"

    def __post_init__(self) -> None:
        """Refuse an unknown variant."""
        if self.variant not in VARIANTS:
            raise ArgumentError(f"grow-depth: variant={self.variant}; known: {', '.join(VARIANTS)}")

    def run(self, graph: Graph) -> Report:
        """Deepen in place. Raises UnsupportedGraphError if there is no such stage."""
        report = Report()
        structure = find_blocks(graph)
        report.left.update(structure.left)
        stages = structure.searchable
        if self.stage is not None:
            if not 0 <= self.stage < len(structure.stages):
                raise UnsupportedGraphError(
                    f"grow-depth: stage={self.stage}, but {len(structure.stages)} stages were "
                    "found, counted from 0; fnac inspect lists them"
                )
            stages = (structure.stages[self.stage],)
        behind: dict[int, list[gs.Node]] = {}
        for stage in stages:
            if len(stage.blocks) > self.depth:
                name = stage.blocks[-1].node_name
                report.left[name] = f"its stage is deeper already ({len(stage.blocks)} blocks)"
            elif (why := stage.blocks[-1].whole.why_not_repeated) is not None or (
                self.variant == "preserving" and (why := stage.blocks[-1].why_not_silenced)
            ):
                report.left[stage.blocks[-1].node_name] = why
            elif len(stage.blocks) < self.depth:
                last = stage.blocks[-1].nodes[-1]
                behind[id(last)] = self._deepen(graph, stage, report)
        if behind:
            graph.put_nodes(
                one for node in graph.nodes for one in (node, *behind.get(id(node), ()))
            )
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield the result of the variant that keeps the function."""
        if self.variant == "preserving":
            yield "the result", before, after

    def _deepen(self, graph: Graph, stage: Stage, report: Report) -> list[gs.Node]:
        block, output = stage.blocks[-1].whole, stage.blocks[-1].output
        form = block.repeated_form
        arrays, account = block.remap(
            block_arrays(block), form, added=True, how=strategy("fna"), rng=np.random.default_rng(0)
        )
        if self.variant == "preserving":
            arrays = silenced(arrays, block.last)
        shape = None if output.shape is None else list(output.shape)
        first = len(stage.blocks)
        entry: gs.Tensor = gs.Variable(
            graph.new_name(f"{output.name}.block{first - 1}"), output.dtype, shape
        )
        set_output(block.nodes[-1], entry)
        nodes: list[gs.Node] = []
        for number in range(first, self.depth):
            built = build_twin(
                graph,
                block,
                arrays,
                account,
                entry=entry,
                suffix=f".block{number}",
                added=True,
            )
            nodes.extend(built.nodes)
            report.initializers.update(built.initializers)
            entry = built.output
        set_output(nodes[-1], output)
        report.rewrote[block.node_name] = f"depth {first} -> {self.depth}"
        return nodes


def silenced(block: BlockArrays, last: str) -> BlockArrays:
    """Return the arrays of a block that adds zero; ``last``: role of the unit before the Add."""
    conv = block[last]
    if conv.bn is not None:
        bn = dataclasses.replace(
            conv.bn, gamma=np.zeros_like(conv.bn.gamma), beta=np.zeros_like(conv.bn.beta)
        )
        return {**block, last: dataclasses.replace(conv, bn=bn)}
    quiet = dataclasses.replace(
        conv,
        weight=np.zeros_like(conv.weight),
        bias=None if conv.bias is None else np.zeros_like(conv.bias),
    )
    return {**block, last: quiet}
