"""Inspect a file: its kind, its costs, what ``expand`` would do with it. No torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from fnac.passes.graph import Graph
from fnac.passes.graph.operators import LOOPS
from fnac.passes.running.run import check_runs
from fnac.passes.stored_layers import LAYERS, StoredLayer, read_layers


@dataclasses.dataclass(frozen=True)
class VerifySettings:
    """The input: image ``size`` (H, W); default: the file's own, or smaller if possible."""

    section: ClassVar[str] = "verify"

    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class InspectSettings:
    """What to show of a seed: the candidates that search ``space`` gives it."""

    section: ClassVar[str] = "inspect"

    space: str = "auto"


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A file's role, interface, and layers (a super network) or blocks (a seed)."""

    role: str
    interface: dict[str, Any]
    manifest: dict[str, Any]
    layers: tuple[StoredLayer, ...]
    blocks: list[dict[str, Any]]
    left: list[dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac inspect --json`` prints."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return what ``fnac inspect`` prints."""
        from fnac.text import layers_text, printable, table

        lines = [f"role    {self.role}"]
        for side in ("inputs", "outputs"):
            for one in self.interface[side]:
                shape = "x".join(str(d) for d in one["shape"])
                line = f"{side[:-1]:7} {one['name']}: {one['dtype']} {shape}"
                lines.append(printable(line, lines=False))
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
                lines.append(printable(f"{key:7} {self.manifest[key]}", lines=False))
        passes = [
            str(entry["pass"]) for entry in self.manifest.get("ledger", []) if "pass" in entry
        ]
        if passes:
            lines.append(f"passes  {', '.join(dict.fromkeys(passes))}")
        if self.layers:
            lines += ["", layers_text(self.layers)]
        if self.blocks:
            keys = ("stage", "block", "kind", "channels", "stride", "dilation", "is", "candidates")
            rows = [[block.get(key, "") for key in keys] for block in self.blocks]
            lines += ["", table(keys, rows)]
        if self.left:
            lines += ["", "left alone:"]
            left = (f"  {one['node']}: {one['why']}" for one in self.left)
            lines += [printable(line, lines=False) for line in left]
        return "\n".join(lines)


def inspect_file(path: Path, settings: InspectSettings) -> Inspection:
    """Inspect a file; for a seed, say what the search space would offer.

    Refuses weights that are no numbers, as ``expand`` would (UnsupportedGraphError).
    """
    graph = Graph.load(path)
    graph.check_finite()
    if any(node.op in LOOPS for node in graph.nodes):
        check_runs(graph)  # what a loop makes is known when it has run: it may be a bomb
    manifest = {k: v for k, v in graph.manifest.items() if k != LAYERS}
    interface = {
        side: [
            {"name": t.name, "dtype": str(t.dtype), "shape": list(t.shape or [])}
            for t in getattr(graph, side)
        ]
        for side in ("inputs", "outputs")
    }
    blocks: list[dict[str, Any]] = []
    left: list[dict[str, str]] = []
    role = graph.manifest.get("role", "found")
    layers = read_layers(graph.manifest) if role == "super" else ()
    if role != "super":
        from fnac.inspection.explain import explain

        explained = explain(graph, settings.space)
        blocks, left = explained.blocks, explained.left
    return Inspection(role, interface, manifest, layers, blocks, left)
