"""What does it cost? Multiply-adds of each stage; the architectures that were considered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fnac.report.html import Html, element, join, missing, raw, section, table
from fnac.report.plots import Picture
from fnac.report.run_folder import RunFolder
from fnac.text import human, percent

DEAREST = 12
"""Nodes that are named."""


def stages(run: RunFolder, charts: Sequence[Picture]) -> Html:
    """MAdds of each stage: chart and table, with fixed parts and total; the measured latency."""
    title = "Cost by stage"
    network = run.network
    if network is None:
        nodes = run.profile.get("nodes")
        if run.searches or not isinstance(nodes, list):
            return section(title, missing("Super network (super.onnx)"), anchor="cost")
        return section("Cost by node", _most_expensive(nodes), anchor="cost")
    seed = network.seed_choices
    rows = []
    for stage in dict.fromkeys(layer.stage for layer in network.layers):
        costs = [network.cost(arch, stage).madds for arch in (seed, run.arch) if arch is not None]
        rows.append(_change_row(f"stage {stage}", costs))
    fixed = [network.fixed_madds] * (1 if run.arch is None else 2)
    rows.append(_change_row("fixed (stem, head, ...)", fixed))
    whole = [network.cost(arch).madds for arch in (seed, run.arch) if arch is not None]
    rows.append(_change_row("whole network", whole))
    heading = ["MAdds", "seed", "target", "change"] if run.arch else ["MAdds", "seed"]
    costs_table = table(heading, rows, range(1, 4))
    shown = [*(chart.shown() for chart in charts), costs_table]
    return section(title, element("div", join(shown), cls="charts"), anchor="cost")


def _most_expensive(nodes: Sequence[Mapping[str, Any]]) -> Html:
    """The nodes that cost most, of a network that has no stages to search."""
    whole = sum(int(node.get("madds") or 0) for node in nodes)
    ordered = sorted(nodes, key=lambda node: -int(node.get("madds") or 0))[:DEAREST]
    rows = [
        [node.get("name"), human(int(node["madds"])), f"{100 * node['madds'] / whole:.1f} %"]
        for node in ordered
        if node.get("madds")
    ]
    note = f"The most expensive of {len(nodes)} nodes of model.onnx; profile.csv has all."
    heading = ["node", "MAdds", "share"]
    return join([element("p", note, cls="note"), table(heading, rows, (1, 2))])


def trade_off(charts: Sequence[Picture]) -> Html:
    """The considered architectures, by cost and score; nothing if there was only one."""
    if not charts:
        return raw("")
    shown = element("div", join([chart.shown() for chart in charts]), cls="charts")
    return section("Trade-off", shown, anchor="trade-off")


def _change_row(name: str, costs: Sequence[int]) -> list[str]:
    change = [percent(costs[1], costs[0])] if len(costs) == 2 else []
    return [name, *map(human, costs), *change]
