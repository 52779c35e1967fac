"""Count MAdds and parameters of any ONNX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.cost import Profile, profile
from fnac.passes.graph import Graph


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """How to count: image ``size`` (H, W; default the file's) and ``convention``."""

    section: ClassVar[str] = "profile"

    size: tuple[int, int] | None = None
    convention: Literal["exact", "paper"] = "exact"


def profile_file(path: Path, settings: ProfileSettings) -> tuple[Profile, Graph]:
    """Count the nodes of a file; shape arithmetic is folded if inference needs that."""
    graph = Graph.load(path)
    try:
        return profile(graph, settings.size, settings.convention), graph
    except UnsupportedGraphError:
        folded = _folded(graph, settings.size)
        if folded is None:
            raise
        return profile(folded, settings.size, settings.convention), folded


def profile_json(counted: Profile, graph: Graph, by: str, top: int | None) -> dict[str, Any]:
    """Return what ``fnac profile --json`` prints, by ``--by`` and ``--top``.

    by    ``op`` or ``block`` adds ``groups``, as ``grouped`` returns them; ``node``: none
    top   only that many nodes, and groups where there are any, the most expensive first; None: all

    ``madds`` and ``params`` are always those of the whole network.
    """
    whole = counted.as_json()
    if by != "node":
        whole["groups"] = grouped(counted, graph, by)
    if top is not None:
        if top < 1:
            raise UsageError(f"--top {top}: wanted at least 1 row")
        for key in {"nodes", "groups"} & set(whole):
            whole[key] = sorted(whole[key], key=lambda row: -row["madds"])[:top]
    return whole


def grouped(counted: Profile, graph: Graph, by: str) -> list[dict[str, Any]]:
    """Sum a profile by ``op`` or by ``block`` (blocks found by pattern, the rest by part)."""
    if by == "op":
        return [
            {"name": key, "madds": madds, "params": params}
            for key, (madds, params) in counted.by("op").items()
        ]
    if by != "block":
        raise UsageError(f"--by {by}: wanted node, op or block")
    from fnac.passes.blocks.find import find_blocks

    owner: dict[str, str] = {}
    for s, stage in enumerate(find_blocks(graph).stages):
        for b, block in enumerate(stage.blocks):
            for node in block.nodes:
                owner[node.name] = f"stage{s}.block{b}"
    sums: dict[str, list[int]] = {}
    for cost in counted.nodes:
        row = sums.setdefault(owner.get(cost.name, cost.part), [0, 0])
        row[0] += cost.madds
        row[1] += cost.params
    return [{"name": key, "madds": m, "params": p} for key, (m, p) in sums.items()]


def _folded(graph: Graph, size: tuple[int, int] | None) -> Graph | None:
    """Return a copy with constants lifted and shape arithmetic folded at ``size``, or None."""
    from fnac.passes.manager import PassManager
    from fnac.passes.registry import parse_pipeline

    folded = graph.copy()
    manager = PassManager(verify=False)
    manager.run(parse_pipeline("lift-constants,fold-shape-arithmetic"), folded)
    changed = any(entry.report.rewrote for entry in manager.ledger)
    return folded if changed else None
