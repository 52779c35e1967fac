"""What ``expand`` would find in a network, for ``fnac inspect``. No torch."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from fnac.errors import UnsupportedGraphError
from fnac.passes.blocks.candidate_names import SKIP
from fnac.passes.blocks.find import find_blocks
from fnac.passes.graph import Graph
from fnac.passes.manager import PassManager
from fnac.passes.super_network.mix import NOT_EXPANDED
from fnac.stages.expand import ExpandSettings, mixing_pass
from fnac.stages.opening.canonical import normalize, take_pictures

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What ``expand`` would do: one row per block or new layer, and why the rest is left alone."""

    blocks: list[dict[str, Any]]
    left: list[dict[str, str]]


def explain(graph: Graph, space: str = "auto", task: str | None = None) -> Explanation:
    """Say which stages, blocks and candidates ``expand`` would find in ``graph``."""
    plain = graph.copy()
    try:
        manager = PassManager(verify=False)
        take_pictures(plain, manager)
        normalize(plain, manager)
    except UnsupportedGraphError as error:
        logger.warning("canonical form: %s", error)
        plain = graph.copy()
    structure = find_blocks(plain)
    task = task or graph.manifest.get("task")
    mix = mixing_pass(plain, ExpandSettings(space=space), task)
    layers = {(layer.stage, layer.index): layer for layer in mix.plan(plain)}
    rows = []
    left = dict(structure.left)
    for stage in structure.stages:
        depths = [index + 1 for number, index in layers if number == stage.index]
        depth = max([len(stage.blocks), *depths])
        for number in range(depth):
            layer = layers.get((stage.index, number))
            block = stage.blocks[min(number, len(stage.blocks) - 1)]
            new = number >= len(stage.blocks)
            candidates = [c.name for c in layer.candidates] if layer is not None else []
            rows.append(
                {
                    "stage": stage.index,
                    "block": number,
                    "node": "" if new else block.node_name,
                    "kind": block.kind,
                    "channels": f"{block.out_channels if new else block.width} -> "
                    f"{block.out_channels}",
                    "output_stride": int(stage.output_stride),
                    "stride": 1 if new else block.stride,
                    "dilation": block.dilation,
                    "is": SKIP if new else block.name,
                    "candidates": " ".join(candidates) or "stays as it is",
                    "declined": {} if layer is None else dict(layer.declined),
                }
            )
            if stage not in structure.searchable:
                left[block.node_name] = NOT_EXPANDED
    return Explanation(rows, [{"node": node, "why": why} for node, why in left.items()])
