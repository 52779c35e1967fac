"""The report's charts, drawn by matplotlib without pyplot (Agg, no display), light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import log
from typing import TYPE_CHECKING, Any

from fnac.report.drawing import Drawing, to_figure
from fnac.report.html import Html, picture
from fnac.report.network import Network
from fnac.report.run_folder import Curve, RunFolder
from fnac.text import human

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEED_COLOUR = "#8d99ae"
TARGET_COLOUR = "#1f9e89"
BUDGET_COLOUR = "#d1495b"
SECOND_COLOUR = "#e9a03b"
DPI = 150
WIDTH = 4.0
"""Of a chart in inches; the page shows it 9 to 14 cm wide."""
MOST_POINTS = 4000
MOST_CURVES = 12
"""Curves that a legend names."""


@dataclass(frozen=True)
class Theme:
    """Colours of lines and text, of the paper, and of the grid."""

    ink: str
    paper: str
    grid: str


LIGHT = Theme(ink="#24292f", paper="#ffffff", grid="#d8dee4")
DARK = Theme(ink="#d7dde4", paper="#161b22", grid="#343b44")


@dataclass(frozen=True)
class Tried:
    """An architecture that was looked at; ``kind``: ``chosen``, ``random`` or blank."""

    madds: int
    score: float
    kind: str = ""


@dataclass(frozen=True)
class Picture:
    """A chart as PNG bytes for both themes; `name` is its file name without `.png`.

    ``reading`` says in a sentence what it shows and what good looks like.
    """

    name: str
    caption: str
    light: bytes
    dark: bytes
    reading: str = ""

    def shown(self) -> Html:
        """Return the chart with its caption, and how it is read."""
        return picture(self.light, self.caption, self.dark, reading=self.reading)


def architecture_picture(drawing: Drawing) -> bytes:
    """The architecture drawing as PNG bytes (light)."""
    return _png(to_figure(drawing, ink=LIGHT.ink, paper=LIGHT.paper))


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
        _counts(axes, "MAdds")
        axes.margins(y=0.12)
        _legend(axes, theme)

    reading = (
        "Where the multiply-adds are spent. A stage that grew is one that the task needs more than "
        "the seed's own task did."
    )
    return _picture("stage_madds", "MAdds of each stage", draw, reading=reading)


def search_pictures(curve: Curve, network: Network | None) -> list[Picture]:
    """The search as in FNA++ Fig. 9, and its steering."""

    def loss(axes: Axes, theme: Theme) -> None:
        for kind, colour in (("weights", TARGET_COLOUR), ("alphas", SECOND_COLOUR)):
            trained = f"steps of the {kind}"
            _trace(axes, curve.points("step", "loss", kind=kind), colour, trained)
        axes.set_ylabel("loss")
        _mark_search(axes, curve, theme)
        _legend(axes, theme)

    def madds(axes: Axes, theme: Theme) -> None:
        xs, ys = _thin(*curve.points("step", "sampled_madds"))
        axes.plot(xs, ys, ".", ms=3, alpha=0.7, color=SEED_COLOUR, label="drawn")
        xs, ys = _thin(*curve.points("step", "expected_madds"))
        axes.plot(xs, ys, lw=1.6, color=TARGET_COLOUR, label="expected")
        xs, ys = _thin(*curve.points("step", "budget_madds"))
        if xs:
            axes.plot(xs, ys, "--", lw=1.2, color=BUDGET_COLOUR, label="budget")
        _counts(axes, "MAdds, whole network")
        _mark_search(axes, curve, theme)
        _legend(axes, theme)

    def entropy(axes: Axes, theme: Theme) -> None:
        axes.plot(*_thin(*curve.points("step", "entropy")), color=TARGET_COLOUR, lw=1.4)
        flat = _flat_entropy(curve, network)
        if flat is not None:
            axes.axhline(flat, ls="--", lw=1, color=BUDGET_COLOUR, label="flat alphas")
            _legend(axes, theme)
        axes.set_ylabel("entropy of the alphas")
        _mark_search(axes, curve, theme)

    def steering(axes: Axes, theme: Theme) -> None:
        axes.plot(*_thin(*curve.points("step", "lambda")), color=TARGET_COLOUR, lw=1.4)
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
        _picture(name, caption, _with_steps(draw), reading=reading)
        for column, name, caption, draw, reading in panels
        if curve.last(column) is not None
    ]


def _flat_entropy(curve: Curve, network: Network | None) -> float | None:
    """The entropy of flat alphas, in the curve's unit: a share of 1, or nats a layer."""
    if max((y for y in curve.points("step", "entropy")[1]), default=0.0) <= 1.0:
        return 1.0
    counts = [len(layer.candidates) for layer in network.layers] if network else []
    return sum(map(log, counts)) / len(counts) if counts else None


def tuning_pictures(curve: Curve) -> list[Picture]:
    """Loss, validation metric and learning rates of the parameter adaptation."""
    measured = next((name for name in curve.numbers if name.startswith("val_")), "val_")
    metric = measured.removeprefix("val_")

    def loss(axes: Axes, theme: Theme) -> None:
        _trace(axes, curve.points("step", "loss"), TARGET_COLOUR, "training")
        axes.set_ylabel("loss")
        axes.set_xlabel("step")

    def validation(axes: Axes, theme: Theme) -> None:
        from matplotlib.ticker import MaxNLocator

        xs, ys = curve.points("epoch", measured)
        epochs = [x + 1 for x in xs]
        axes.plot(epochs, ys, "o-", ms=3.5, lw=1.4, color=TARGET_COLOUR)
        best = max(range(len(ys)), key=ys.__getitem__)
        axes.plot(epochs[best], ys[best], "o", ms=8, mfc="none", mec=BUDGET_COLOUR)
        place = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"best {ys[best]:.1f}", (epochs[best], ys[best]), **place)  # type: ignore
        axes.set_xlim(0, max(epochs) + 1)
        axes.set_ylim(0, max(1.0, 1.25 * max(ys)))
        axes.set_ylabel(f"validation {metric}, %")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    def rate(axes: Axes, theme: Theme) -> None:
        for column, colour, part in (
            ("lr", TARGET_COLOUR, "backbone"),
            ("head_lr", SECOND_COLOUR, "head"),
        ):
            xs, ys = _thin(*curve.points("step", column))
            if xs:
                axes.plot(xs, ys, lw=1.4, color=colour, label=part)
        axes.set_ylabel("learning rate")
        axes.set_xlabel("step")
        _legend(axes, theme)

    panels = [
        (
            measured, "tune_validation", "Validation during tuning", validation,
            f"{metric} on the validation split after each epoch, ringed: the best. A curve that "
            "still rises at its end asks for more epochs; one that falls for a while has learnt "
            "the training images by heart.",
        ),
        (
            "loss", "tune_loss", "Loss during tuning", loss,
            "The training loss, bold: its running mean. It should fall and level off; jumps ask "
            "for a lower learning rate.",
        ),
        (
            "lr", "tune_lr", "Learning rate", rate,
            "How far a step goes, for backbone (tune.lr) and head (tune.head_lr). It should "
            "end near 0.",
        ),
    ]  # fmt: skip
    return [
        _picture(name, caption, draw, reading=reading)
        for column, name, caption, draw, reading in panels
        if curve.last(column) is not None
    ]


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
        _legend(axes, theme)

    reading = (
        "Each class, for boxes that overlap an object by half. The nearer a curve runs to the "
        "upper right corner, the better; where it drops to 0, objects are not found at any score."
    )
    return _picture("precision_recall", "Precision and recall", draw, reading=reading, height=3.0)


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
    return _picture("confusion", "Confusion", draw, reading=reading, height=3.6)


def tried(points: Sequence[Tried], metric: str) -> Picture:
    """The architectures that were looked at, by cost and score."""

    def draw(axes: Axes, theme: Theme) -> None:
        for label, kind, colour, mark in (
            ("looked at", "", SEED_COLOUR, "o"),
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
        axes.set_ylabel("score")
        _legend(axes, theme)

    reading = (
        f"Architectures by what they cost and what they were judged by ({metric} after a short "
        "tuning on images held back, or the answers of the trained super network). Further up is "
        "better, further left is cheaper; the chosen one should lie at the top."
    )
    return _picture("tried", "Architectures that were looked at", draw, reading=reading)


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
    return _picture("alphas", f"Final alphas{ringed}", draw, height=height, reading=reading)


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
        _legend(axes, theme)

    return _picture("trade-off", "What a budget costs in error", draw)


def _picture(
    name: str,
    caption: str,
    draw: Callable[[Axes, Theme], None],
    *,
    height: float = 2.3,
    reading: str = "",
) -> Picture:
    """Draw one chart once for each theme."""
    light, dark = (_chart(draw, theme, height) for theme in (LIGHT, DARK))
    return Picture(name, caption, light, dark, reading)


def _chart(draw: Callable[[Axes, Theme], None], theme: Theme, height: float) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.ink,
        "axes.labelcolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "grid.color": theme.grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(
            figsize=(WIDTH, height), dpi=DPI, facecolor=theme.paper, layout="constrained"
        )
        draw(figure.add_subplot(), theme)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    # without the version stamp the same run gives the same bytes
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _with_steps(draw: Callable[[Axes, Theme], None]) -> Callable[[Axes, Theme], None]:
    def drawn(axes: Axes, theme: Theme) -> None:
        draw(axes, theme)
        axes.set_xlabel("step")

    return drawn


def _trace(axes: Axes, points: tuple[list[float], list[float]], colour: str, label: str) -> None:
    """A noisy curve: faint as it is, bold as its running mean over about 3 % of it."""
    xs, ys = points
    if not xs:
        return
    window = max(1, len(ys) // 33)
    sums = [0.0]
    for value in ys:
        sums.append(sums[-1] + value)
    smooth = [
        (sums[at + 1] - sums[max(0, at + 1 - window)]) / min(at + 1, window)
        for at in range(len(ys))
    ]
    if window > 1:
        axes.plot(*_thin(xs, ys), lw=0.6, alpha=0.3, color=colour)
    axes.plot(*_thin(xs, smooth), lw=1.5, color=colour, label=label)


def _mark_search(axes: Axes, curve: Curve, theme: Theme) -> None:
    """A line where the warm-up ends and the alphas begin."""
    steps, _ = curve.points("step", "step", phase="search")
    warm, _ = curve.points("step", "step", phase="warmup")
    if steps and warm:
        axes.axvline(steps[0], lw=0.8, ls=":", color=theme.ink)


def _thin(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """Every n-th point, so that at most MOST_POINTS are drawn; the last one always."""
    if len(xs) <= MOST_POINTS:
        return list(xs), list(ys)
    stride = -(-len(xs) // MOST_POINTS)
    keep = sorted({*range(0, len(xs), stride), len(xs) - 1})
    return [xs[at] for at in keep], [ys[at] for at in keep]


def _counts(axes: Axes, label: str) -> None:
    """Ticks as 301M, 24.5G."""

    def tick(value: float, _position: Any) -> str:
        return human(value)

    axes.yaxis.set_major_formatter(tick)
    axes.set_ylabel(label)


def _legend(axes: Axes, theme: Theme) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(fontsize=7, frameon=False, labelcolor=theme.ink)
