"""Look at a file: what it is, what it costs, what it would become. No torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.cost import Profile, profile
from fnac.passes.graph import Graph


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """How to count: image ``size`` (H, W; default the file's) and ``convention``."""

    size: tuple[int, int] | None = None
    convention: Literal["exact", "paper"] = "exact"


@dataclasses.dataclass(frozen=True)
class VerifySettings:
    """What to feed: image ``size`` (H, W; default the file's own, or smaller where it can be)."""

    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class InspectSettings:
    """What to show of a seed: the candidates that search ``space`` gives it."""

    space: str = "auto"


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
    """Return what ``fnac profile --json`` prints: a profile as ``--by`` and ``--top`` ask for it.

    by    ``op`` or ``block`` adds ``groups``, as ``grouped`` returns them; ``node``: none
    top   only that many nodes, and groups where there are any, the dearest first; None: all

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
        raise UsageError(f"--by {by}: node, op or block was wanted")
    from fnac.passes.blocks import find_blocks

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


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a file is: its role, interface, layers (a super network) or blocks (a seed)."""

    role: str
    interface: dict[str, Any]
    manifest: dict[str, Any]
    layers: list[dict[str, Any]]
    blocks: list[dict[str, Any]]
    left: list[dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac inspect --json`` prints."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return what ``fnac inspect`` prints."""
        from fnac.report.text import layers_text, table

        lines = [f"role    {self.role}"]
        for side in ("inputs", "outputs"):
            for one in self.interface[side]:
                shape = "x".join(str(d) for d in one["shape"])
                lines.append(f"{side[:-1]:7} {one['name']}: {one['dtype']} {shape}")
        for key in (
            "name",
            "task",
            "head",
            "num_classes",
            "size",
            "preprocessing",
            "remap",
            "arch",
        ):
            if self.manifest.get(key) is not None:
                lines.append(f"{key:7} {self.manifest[key]}")
        made = [str(entry["pass"]) for entry in self.manifest.get("ledger", []) if "pass" in entry]
        if made:
            lines.append(f"passes  {', '.join(dict.fromkeys(made))}")
        if self.layers:
            lines += ["", layers_text(self.layers)]
        if self.blocks:
            keys = ("stage", "block", "kind", "channels", "stride", "dilation", "is", "candidates")
            rows = [[block.get(key, "") for key in keys] for block in self.blocks]
            lines += ["", table(keys, rows)]
        if self.left:
            lines += ["", "left alone:"]
            lines += [f"  {one['node']}: {one['why']}" for one in self.left]
        return "\n".join(lines)


def inspect_file(path: Path, settings: InspectSettings) -> Inspection:
    """Look at a file; of a seed, say what the search space would make of it.

    Refuses weights that are no numbers, as ``expand`` would (UnsupportedGraphError).
    """
    graph = Graph.load(path)
    graph.check_finite()
    manifest = {k: v for k, v in graph.manifest.items() if k != "layers"}
    interface = {
        side: [
            {"name": t.name, "dtype": str(t.dtype), "shape": list(t.shape or [])}
            for t in getattr(graph, side)
        ]
        for side in ("inputs", "outputs")
    }
    layers = graph.manifest.get("layers", [])
    blocks: list[dict[str, Any]] = []
    left: list[dict[str, str]] = []
    role = graph.manifest.get("role", "found")
    if role != "super":
        from fnac.stages.explain import explain

        explained = explain(graph, settings.space)
        blocks, left = explained.blocks, explained.left
        layers = []
    return Inspection(role, interface, manifest, layers, blocks, left)


def _folded(graph: Graph, size: tuple[int, int] | None) -> Graph | None:
    """Return a copy with constants lifted and shape arithmetic folded at ``size``; None: no use."""
    from fnac.passes.manager import PassManager
    from fnac.passes.registry import parse_pipeline

    folded = graph.copy()
    manager = PassManager(verify=False)
    manager.run(parse_pipeline("lift-constants,fold-shape-arithmetic"), folded)
    changed = any(entry.report.rewrote for entry in manager.ledger)
    return folded if changed else None
