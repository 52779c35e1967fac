"""One chart as a picture for light and dark pages, drawn by matplotlib without pyplot (Agg)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fnac.report.html import Html, picture
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


def make_picture(
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
        return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    # without the version stamp the same run gives the same bytes
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def draw_trace(
    axes: Axes, points: tuple[list[float], list[float]], colour: str, label: str
) -> None:
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
        axes.plot(*thinned(xs, ys), lw=0.6, alpha=0.3, color=colour)
    axes.plot(*thinned(xs, smooth), lw=1.5, color=colour, label=label)


def thinned(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """Every n-th point, so that at most MOST_POINTS are drawn; the last one always."""
    if len(xs) <= MOST_POINTS:
        return list(xs), list(ys)
    stride = -(-len(xs) // MOST_POINTS)
    keep = sorted({*range(0, len(xs), stride), len(xs) - 1})
    return [xs[at] for at in keep], [ys[at] for at in keep]


def count_axis(axes: Axes, label: str) -> None:
    """Ticks as 301M, 24.5G."""

    def tick(value: float, _position: Any) -> str:
        return human(value)

    axes.yaxis.set_major_formatter(tick)
    axes.set_ylabel(label)


def count_steps(axes: Axes, label: str = "step") -> None:
    """Label the axis of steps or epochs, with whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_legend(axes: Axes, theme: Theme) -> None:
    """Add a legend if something has a label."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(fontsize=7, frameon=False, labelcolor=theme.ink)
