"""Choose one candidate at every choice point: a super network becomes a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import ArchError, UnsupportedGraphError
from ..graph import Graph
from ..graph.node_maker import new_node
from ..graph.surgery import leave_instead, remove_nodes
from ..stored_layers import LAYERS, StoredLayer, read_layers, seed_arch
from .choice_points import find_choice_points

SEED = "seed"


@dataclasses.dataclass(frozen=True)
class Choose(Pass):
    """Keep one candidate of every choice point, weights as they are, and drop the rest.

    Matches  choice points (``find_choice_points``).
    Changes  the chosen candidate computes the choice point's output, not scaled; the alphas and
             the other candidates are removed. The manifest says which arch was chosen.
    Keeps    interface. The seed's own arch gives back the original graph, bit-identical.

    arch  candidates in network order: ``k3e6-skip-k5e3``, a tuple of names, or ``seed``
    """

    name: ClassVar[str] = "choose"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    arch: str | tuple[str, ...] = SEED

    def run(self, graph: Graph) -> Report:
        """Choose in place."""
        if isinstance(self.arch, str) and self.arch != SEED:
            return choose(graph, self.arch.split("-"))
        return choose(graph, None if self.arch == SEED else list(self.arch))


def choose(graph: Graph, arch: Sequence[str] | None) -> Report:
    """Keep the candidates named in ``arch`` (None: the seed's), in place.

    Raises ArchError if ``arch`` does not fit, UnsupportedGraphError if the graph has choice points
    but no layers in its manifest.
    """
    report = Report()
    points = find_choice_points(graph)
    layers = read_layers(graph.manifest)
    if len(points) != len(layers):
        raise UnsupportedGraphError(
            f"choose: {len(points)} choice points were found and {len(layers)} layers in the "
            "manifest; wanted a super network made by fnac expand"
        )
    if not points:
        return report
    choices = seed_arch(layers) if arch is None else list(arch)
    chosen = candidate_indices(layers, choices)
    gone: list[gs.Node] = []
    left = []
    for point, choice in zip(points, chosen, strict=True):
        left.append((point.output, point.outputs[choice]))
        gone.extend(point.mixing)
        for index, region in enumerate(point.regions):
            if index != choice:
                gone.extend(region)
    remove_nodes(graph, gone)
    added: list[gs.Node] = []
    for point, layer, choice, (output, kept) in zip(points, layers, chosen, left, strict=True):
        name = layer.names[choice]
        if point.regions[choice]:
            leave_instead(kept, output)
            _account(report, point.regions[choice], f"{layer.name} {name}")
        elif not kept.inputs or graph.is_output(kept):
            other = graph.new_name(f"{point.sum.name}.skip")
            added.append(new_node("Identity", other, [kept], [output]))
        else:
            leave_instead(kept, output)
            graph.reread(kept, output)
        report.rewrote[point.sum.name] = f"{layer.name}: {name}"
    if added:
        graph.put_nodes([*graph.nodes, *added])
        graph.toposort()
    manifest = graph.manifest
    manifest["role"] = "target"
    manifest["arch"] = choices
    manifest["arch_layers"] = [layer.name for layer in layers]
    for key in (LAYERS, "fixed_madds", "fixed_params"):
        manifest.pop(key, None)
    return report


def candidate_indices(layers: Sequence[StoredLayer], arch: Sequence[str]) -> list[int]:
    """Return the index of each choice among its layer's candidates.

    Raises ArchError naming the layer, what was asked for and what there is.
    """
    if len(arch) != len(layers):
        raise ArchError(
            f"the arch has {len(arch)} choices, the super network {len(layers)} layers; "
            "give one candidate for each layer, in network order"
        )
    return [layer.index(name) for layer, name in zip(layers, arch, strict=True)]


def _account(report: Report, region: Sequence[gs.Node], where: str) -> None:
    for node in region:
        node.metadata.pop("fnac.layer", None)
        node.metadata.pop("fnac.candidate", None)
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant):
                report.initializers[tensor.name] = f"collected from {where}"
