"""Charts of what architectures cost, and the drawing of the architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fnac.report.drawing import Drawing, to_figure
from fnac.report.network import Network
from fnac.text import human

from .chart import (
    LIGHT,
    SECOND_COLOUR,
    SEED_COLOUR,
    TARGET_COLOUR,
    Picture,
    Theme,
    as_png,
    count_axis,
    draw_legend,
    make_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Tried:
    """An architecture that was tried; ``kind``: ``chosen``, ``random`` or blank."""

    madds: int
    score: float
    kind: str = ""


def architecture_picture(drawing: Drawing) -> bytes:
    """The architecture drawing as PNG bytes (light)."""
    return as_png(to_figure(drawing, ink=LIGHT.ink, paper=LIGHT.paper))


def stage_madds(network: Network, seed: Sequence[str], target: Sequence[str] | None) -> Picture:
    """MAdds of each stage, seed and target side by side."""
    stages = list(dict.fromkeys(layer.stage for layer in network.layers))

    def draw(axes: Axes, theme: Theme) -> None:
        sides = [("seed", seed, SEED_COLOUR), ("target", target, TARGET_COLOUR)]
        present = [(name, arch, colour) for name, arch, colour in sides if arch is not None]
        width = 0.8 / len(present)
        for side, (name, arch, colour) in enumerate(present):
            places = [at - 0.4 + width * (side + 0.5) for at in range(len(stages))]
            heights = [network.cost(arch, stage).madds for stage in stages]
            axes.bar(places, heights, width * 0.94, color=colour, label=name)
        axes.set_xticks(range(len(stages)), [str(stage) for stage in stages])
        axes.set_xlabel("stage")
        count_axis(axes, "MAdds")
        axes.margins(y=0.12)
        draw_legend(axes, theme)

    reading = (
        "Where the multiply-adds are spent. A stage that grew is one that the task needs more than "
        "the seed's own task did."
    )
    return make_picture("stage_madds", "MAdds of each stage", draw, reading=reading)


def tried(points: Sequence[Tried], metric: str) -> Picture:
    """The architectures that were tried, by cost and score."""

    def draw(axes: Axes, theme: Theme) -> None:
        for label, kind, colour, mark in (
            ("tried", "", SEED_COLOUR, "o"),
            ("drawn at random", "random", SECOND_COLOUR, "x"),
            ("chosen", "chosen", TARGET_COLOUR, "D"),
        ):
            own = [(one.madds, one.score) for one in points if one.kind == kind]
            if own:
                xs, ys = [x for x, _ in own], [y for _, y in own]
                axes.plot(xs, ys, mark, ms=4.5, color=colour, label=label)
        costs = [one.madds for one in points]
        room = max(max(costs) - min(costs), 0.1 * max(costs)) / 10
        axes.set_xlim(min(costs) - 5 * room, max(costs) + 5 * room)
        axes.xaxis.set_major_formatter(lambda value, _: human(value))
        axes.set_xlabel("MAdds, whole network")
        axes.set_ylabel(f"score: {metric}, %")
        draw_legend(axes, theme)

    reading = (
        f"Architectures by what they cost and what they were judged by ({metric} after a short "
        "tuning on images held back, or the answers of the trained super network). Further up is "
        "better, further left is cheaper; the chosen one should lie at the top."
    )
    return make_picture("tried", "Architectures that were tried", draw, reading=reading)


def trade_off(
    points: Sequence[tuple[int, float]], result: tuple[int, float] | None, unit: str
) -> Picture:
    """Error by cost: predicted for several budgets, measured for the resulting network."""

    def draw(axes: Axes, theme: Theme) -> None:
        ordered = sorted(points)
        costs, errors = [cost for cost, _ in ordered], [error for _, error in ordered]
        axes.plot(costs, errors, marker="o", color=SEED_COLOUR, label="predicted")
        if result is not None:
            axes.plot(
                *result, marker="o", color=TARGET_COLOUR, linestyle="", label="made, measured"
            )
        axes.xaxis.set_major_formatter(lambda value, _: human(value))
        axes.set_xlabel({"madds": "MAdds", "params": "parameters"}[unit])
        axes.set_ylabel("error of the answers")
        axes.set_ylim(bottom=0)
        draw_legend(axes, theme)

    return make_picture("trade-off", "What a budget costs in error", draw)
