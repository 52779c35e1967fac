"""Charts of the search: its curves and its final alphas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from typing import TYPE_CHECKING

from fnac.report.network import Network
from fnac.report.run_folder import Curve, RunFolder

from .chart import (
    BUDGET_COLOUR,
    SECOND_COLOUR,
    SEED_COLOUR,
    TARGET_COLOUR,
    Picture,
    Theme,
    count_axis,
    count_steps,
    draw_legend,
    draw_trace,
    make_picture,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search_pictures(curve: Curve, network: Network | None) -> list[Picture]:
    """The search as in FNA++ Fig. 9, and its steering."""

    def loss(axes: Axes, theme: Theme) -> None:
        for kind, colour in (("weights", TARGET_COLOUR), ("alphas", SECOND_COLOUR)):
            trained = f"steps of the {kind}"
            draw_trace(axes, curve.points("step", "loss", kind=kind), colour, trained)
        axes.set_ylabel("loss")
        _mark_search(axes, curve, theme)
        draw_legend(axes, theme)

    def madds(axes: Axes, theme: Theme) -> None:
        xs, ys = thinned(*curve.points("step", "sampled_madds"))
        axes.plot(xs, ys, ".", ms=3, alpha=0.7, color=SEED_COLOUR, label="drawn")
        xs, ys = thinned(*curve.points("step", "expected_madds"))
        axes.plot(xs, ys, lw=1.6, color=TARGET_COLOUR, label="expected")
        xs, ys = thinned(*curve.points("step", "budget_madds"))
        if xs:
            axes.plot(xs, ys, "--", lw=1.2, color=BUDGET_COLOUR, label="budget")
        count_axis(axes, "MAdds, whole network")
        _mark_search(axes, curve, theme)
        draw_legend(axes, theme)

    def entropy(axes: Axes, theme: Theme) -> None:
        axes.plot(*thinned(*curve.points("step", "entropy")), color=TARGET_COLOUR, lw=1.4)
        flat = _flat_entropy(curve, network)
        if flat is not None:
            axes.axhline(flat, ls="--", lw=1, color=BUDGET_COLOUR, label="flat alphas")
            draw_legend(axes, theme)
        axes.set_ylabel("entropy of the alphas")
        _mark_search(axes, curve, theme)

    def steering(axes: Axes, theme: Theme) -> None:
        axes.plot(*thinned(*curve.points("step", "lambda")), color=TARGET_COLOUR, lw=1.4)
        axes.set_ylabel("lambda")
        _mark_search(axes, curve, theme)

    last = curve.last("entropy")
    here = "" if last is None or last > 1 else f" Here {last:.2f}."
    panels = [
        (
            "loss", "search_loss", "Loss during search", loss,
            "Loss of one sampled path at a time, dotted line: the warm-up ends. It should "
            "fall, and go on falling after the line.",
        ),
        (
            "sampled_madds", "search_madds", "MAdds during search", madds,
            "What the architectures cost that the alphas would draw. The expected cost should meet "
            "the budget about half way and stay on it.",
        ),
        (
            "entropy", "search_entropy", "Entropy of the alphas (mean of the layers)", entropy,
            "How undecided the layers are, 1: every candidate alike. It should fall below 0.9; "
            f"near 1 the choice is close to chance.{here}",
        ),
        (
            "lambda", "search_lambda", "Weight of the cost term", steering,
            "How hard the cost pulls so that the budget is met. A smooth curve is good; negative "
            "means that the task alone would spend less.",
        ),
    ]  # fmt: skip
    return [
        make_picture(name, caption, _with_steps(draw), reading=reading)
        for column, name, caption, draw, reading in panels
        if curve.last(column) is not None
    ]


def alphas_picture(alphas: Mapping[str, Mapping[str, float]], run: RunFolder) -> Picture:
    """Heat map of the final probabilities, layer x candidate; the target's choice is ringed."""
    layers = list(alphas)
    candidates = list(dict.fromkeys(name for row in alphas.values() for name in row))
    candidates.sort(key=lambda name: (name == "skip", name))
    choices: dict[str, str] = {}
    if run.network is not None and run.arch is not None:
        choices = {layer.name: own for layer, own in zip(run.network.layers, run.arch)}

    def draw(axes: Axes, theme: Theme) -> None:
        values = [
            [alphas[layer].get(name, float("nan")) for name in candidates] for layer in layers
        ]
        image = axes.imshow(values, cmap="viridis", vmin=0.0, aspect="auto")
        for row, layer in enumerate(layers):
            if choices.get(layer) in alphas[layer]:
                column = candidates.index(choices[layer])
                axes.plot(column, row, "o", ms=6, mfc="none", mec="#ffffff", mew=2.4)
                axes.plot(column, row, "o", ms=6, mfc="none", mec=BUDGET_COLOUR, mew=1.2)
        axes.set_xticks(range(len(candidates)), candidates)
        axes.set_yticks(range(len(layers)), [layer.replace("$", r"\$") for layer in layers])
        axes.tick_params(labelsize=6.5)
        axes.grid(False)
        bar = axes.figure.colorbar(image, ax=axes, label="softmax(alpha)")
        bar.ax.tick_params(labelsize=6.5)

    ringed = "; ringed: the target's choice" if choices else ""
    height = 0.9 + 0.2 * len(layers)
    reading = (
        "How likely each candidate of each layer is, bright: likely. The ring is the choice within "
        "the budget; where it is not on the brightest cell of its row, the budget spoke against "
        "it. Rows of one colour are undecided; an empty cell is a candidate that the layer lacks."
    )
    return make_picture("alphas", f"Final alphas{ringed}", draw, height=height, reading=reading)


def _flat_entropy(curve: Curve, network: Network | None) -> float | None:
    """The entropy of flat alphas, in the curve's unit: a share of 1, or nats a layer."""
    if max((y for y in curve.points("step", "entropy")[1]), default=0.0) <= 1.0:
        return 1.0
    counts = [len(layer.candidates) for layer in network.layers] if network else []
    return sum(map(log, counts)) / len(counts) if counts else None


def _with_steps(draw: Callable[[Axes, Theme], None]) -> Callable[[Axes, Theme], None]:
    def drawn(axes: Axes, theme: Theme) -> None:
        draw(axes, theme)
        count_steps(axes)

    return drawn


def _mark_search(axes: Axes, curve: Curve, theme: Theme) -> None:
    """A line where the warm-up ends and the alphas begin."""
    steps, _ = curve.points("step", "step", phase="search")
    warm, _ = curve.points("step", "step", phase="warmup")
    if steps and warm:
        axes.axvline(steps[0], lw=0.8, ls=":", color=theme.ink)
