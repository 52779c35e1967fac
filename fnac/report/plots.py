"""The report's charts, drawn by matplotlib without pyplot (Agg, no display), light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import log
from typing import TYPE_CHECKING, Any

from fnac.report.drawing import Drawing, to_figure
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
DPI = 130
MOST_POINTS = 4000


@dataclass(frozen=True)
class Theme:
    """Colours of lines and text, of the paper, and of the grid."""

    ink: str
    paper: str
    grid: str


LIGHT = Theme(ink="#24292f", paper="#ffffff", grid="#d8dee4")
DARK = Theme(ink="#d7dde4", paper="#161b22", grid="#343b44")


@dataclass(frozen=True)
class Picture:
    """A chart as PNG bytes for both themes; `name` is its file name without `.png`."""

    name: str
    caption: str
    light: bytes
    dark: bytes


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
            bars = axes.bar(places, heights, width * 0.94, color=colour, label=name)
            labels = [human(value) for value in heights]
            axes.bar_label(bars, labels, color=theme.ink, fontsize=6, padding=1)
        axes.set_xticks(range(len(stages)), [str(stage) for stage in stages])
        axes.set_xlabel("stage")
        _counts(axes, "MAdds")
        axes.margins(y=0.12)
        _legend(axes, theme)

    return _picture("stage_madds", "MAdds of each stage", draw)


def search_pictures(curve: Curve, network: Network | None) -> list[Picture]:
    """The search as in FNA++ Fig. 9, and its steering."""

    def loss(axes: Axes, theme: Theme) -> None:
        for kind, colour in (("weights", TARGET_COLOUR), ("alphas", SECOND_COLOUR)):
            _trace(axes, curve.points("step", "loss", kind=kind), colour, f"{kind} steps")
        axes.set_ylabel("loss")
        _mark_search(axes, curve, theme)
        _legend(axes, theme)

    def madds(axes: Axes, theme: Theme) -> None:
        xs, ys = _thin(*curve.points("step", "sampled_madds"))
        axes.plot(xs, ys, ".", ms=2.5, alpha=0.45, color=SEED_COLOUR, label="sampled")
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

    panels = [
        ("loss", "search_loss", "Loss during search", loss),
        ("sampled_madds", "search_madds", "MAdds during search", madds),
        ("entropy", "search_entropy", "Entropy of the alphas (mean of the layers)", entropy),
        ("lambda", "search_lambda", "Weight of the cost term", steering),
    ]
    return [
        _picture(name, caption, _with_steps(draw))
        for column, name, caption, draw in panels
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

    def loss(axes: Axes, theme: Theme) -> None:
        _trace(axes, curve.points("step", "loss"), TARGET_COLOUR, "training")
        axes.set_ylabel("loss")

    def validation(axes: Axes, theme: Theme) -> None:
        axes.plot(*curve.points("step", measured), "o-", ms=3.5, lw=1.4, color=TARGET_COLOUR)
        axes.set_ylabel(f"validation {measured.removeprefix('val_')}, %")

    def rate(axes: Axes, theme: Theme) -> None:
        for column, colour in (("lr", TARGET_COLOUR), ("head_lr", SECOND_COLOUR)):
            xs, ys = _thin(*curve.points("step", column))
            if xs:
                axes.plot(xs, ys, lw=1.4, color=colour, label=column)
        axes.set_ylabel("learning rate")
        _legend(axes, theme)

    panels = [
        ("loss", "tune_loss", "Loss during tuning", loss),
        (measured, "tune_validation", "Validation during tuning", validation),
        ("lr", "tune_lr", "Learning rate", rate),
    ]
    return [
        _picture(name, caption, _with_steps(draw))
        for column, name, caption, draw in panels
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
    return _picture("alphas", f"Final alphas{ringed}", draw, height=height)


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
    name: str, caption: str, draw: Callable[[Axes, Theme], None], *, height: float = 2.6
) -> Picture:
    """Draw one chart once for each theme."""
    light, dark = (_chart(draw, theme, height) for theme in (LIGHT, DARK))
    return Picture(name, caption, light, dark)


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
        figure = Figure(figsize=(4.6, height), dpi=DPI, facecolor=theme.paper, layout="constrained")
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
