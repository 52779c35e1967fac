"""Charts of single classes: precision and recall, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .chart import Picture, Theme, draw_legend, make_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CURVES = 12
"""Curves that a legend names."""


def precision_recall(curves: Mapping[str, Sequence[float]]) -> Picture:
    """Precision by recall of each class, for boxes that overlap an object by half."""

    def draw(axes: Axes, theme: Theme) -> None:
        ordered = sorted(curves.items(), key=lambda one: -sum(one[1]))
        for number, (name, values) in enumerate(ordered):
            xs = [at / (len(values) - 1) for at in range(len(values))]
            label = name.replace("$", r"\$") if number < MOST_CURVES else None
            axes.plot(xs, [max(0.0, v) for v in values], lw=1.3, label=label)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall: share of the objects that are found")
        axes.set_ylabel("precision")
        draw_legend(axes, theme)

    reading = (
        "Each class, for boxes that overlap an object by half. The nearer a curve runs to the "
        "upper right corner, the better; where it drops to 0, objects are not found at any score."
    )
    return make_picture(
        "precision_recall", "Precision and recall", draw, reading=reading, height=3.0
    )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Picture:
    """Heat map of what is taken for what: rows are the truth, in shares of it."""

    def draw(axes: Axes, theme: Theme) -> None:
        shares = [[100 * count / max(1, sum(row)) for count in row] for row in matrix]
        image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=100)
        labels = [name.replace("$", r"\$") for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90)
        axes.set_yticks(range(len(names)), labels)
        axes.tick_params(labelsize=max(3.5, 8 - len(names) / 8))
        axes.grid(False)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
        bar = axes.figure.colorbar(image, ax=axes, label="% of the truth")
        bar.ax.tick_params(labelsize=6.5)

    reading = (
        "Each row is a class as labelled, each column what it was taken for, in percent of the "
        "row. Good is a bright diagonal; a bright column is a class that others are taken for."
    )
    return make_picture("confusion", "Confusion", draw, reading=reading, height=3.6)
