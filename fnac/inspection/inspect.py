"""Inspect a file: its kind, its costs, what ``expand`` would do with it. No torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from fnac.errors import UnsupportedGraphError
from fnac.passes.cost import profile
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import Contract
from fnac.passes.graph.operators import LOOPS
from fnac.passes.running.run import check_runs
from fnac.passes.stored_layers import LAYERS, StoredLayer, read_layers

MOST_NAMED = 3
"""Layers of one reason that are named."""


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
    """A file's role, interface, and layers (a super network) or blocks (a seed).

    costs  MAdds and parameters at the file's own size; None: it states none, or is a super network
    """

    role: str
    interface: dict[str, Any]
    manifest: dict[str, Any]
    layers: tuple[StoredLayer, ...]
    blocks: list[dict[str, Any]]
    left: list[dict[str, str]]
    costs: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac inspect --json`` prints."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return what ``fnac inspect`` prints."""
        from fnac.text import MADDS_NOTE, human, layers_text, printable, table

        foreign = " (fnac did not write this file)" if self.role == "found" else ""
        lines = [f"role    {self.role}{foreign}"]
        for side in ("inputs", "outputs"):
            for one in self.interface[side]:
                shape = "x".join(str(d) for d in one["shape"])
                line = f"{side[:-1]:7} {one['name']}: {one['dtype']} {shape}"
                lines.append(printable(line, lines=False))
        for key in ("name", "task", "head", "num_classes", "remap"):
            if self.manifest.get(key) is not None:
                lines.append(printable(f"{key:7} {self.manifest[key]}", lines=False))
        if self.manifest.get("arch"):
            lines.append(printable(f"arch    {' '.join(self.manifest['arch'])}", lines=False))
        lines += self._input()
        if self.costs is not None:
            counts = " MAdds, ".join(human(self.costs[key]) for key in ("madds", "params"))
            lines.append(f"costs   {counts} params   [{MADDS_NOTE}]")
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
            heading = ["now" if key == "is" else key for key in keys]
            lines += ["", table(heading, rows)]
        if self.left:
            lines += ["", "left alone:"]
            lines += [printable(line, lines=False) for line in self._left_alone()]
        return "\n".join(lines)

    def _input(self) -> list[str]:
        """Return the size and the preprocessing that the file states, in words."""
        stated = Contract.read(self.manifest).input
        lines = []
        if stated.size is not None:
            lines.append("size    {}x{}".format(*stated.size))
        if stated.assumed and not self.manifest.get("preprocessing"):
            return [*lines, "prepare not stated: give mean and std with --mean and --std"]
        values = (",".join(f"{value:g}" for value in side) for side in (stated.mean, stated.std))
        mean, std = values
        words = f"{stated.color}, range {stated.range[0]:g} to {stated.range[1]:g}, mean {mean}"
        words += f", std {std}, {stated.layout}"
        words += f", {stated.resize}" if stated.resize else ""
        return [*lines, f"prepare {words}" + (" (assumed)" if stated.assumed else "")]

    def _left_alone(self) -> list[str]:
        """Return why layers are left alone; a reason of many of them is said once."""
        by_reason: dict[str, list[str]] = {}
        for one in self.left:
            by_reason.setdefault(one["why"], []).append(one["node"])
        lines = []
        for why, nodes in by_reason.items():
            if len(nodes) <= MOST_NAMED:
                lines += [f"  {node}: {why}" for node in nodes]
            else:
                shown = ", ".join(nodes[:MOST_NAMED])
                lines.append(f"  {len(nodes)} layers ({shown}, ...): {why}")
        return lines


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
    return Inspection(role, interface, manifest, layers, blocks, left, _costs(graph, role))


def _costs(graph: Graph, role: str) -> dict[str, int] | None:
    """Return what a network costs at the size that its file states, if it can be counted."""
    if role == "super" or graph.image_size() is None:
        return None
    try:
        counted = profile(graph, graph.image_size())
    except UnsupportedGraphError:
        return None
    return {"madds": counted.madds, "params": counted.params}
