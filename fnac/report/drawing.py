"""A drawing is a list of rectangles, lines and labels; it is rendered as SVG and by matplotlib.

Units are SVG pixels, y grows downwards. `ink` follows the page's text colour, so that the same
drawing is legible on light and on dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABEL_ON_FILL = "#1b1f24"
PIXELS_PER_INCH = 100.0
DPI = 160
POINTS_PER_PIXEL = 72.0 / PIXELS_PER_INCH


@dataclass(frozen=True)
class Box:
    """A rectangle; `fill` a colour or None, `outline` its width in pixels (0: none)."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    outline: float = 0.8
    dashed: bool = False
    tooltip: str = ""


@dataclass(frozen=True)
class Line:
    """A horizontal or vertical thin line."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Label:
    """Text centred (or starting, ending) at x; y is its vertical middle."""

    x: float
    y: float
    text: str
    size: float = 10.0
    anchor: str = "middle"
    bold: bool = False
    on_fill: bool = False


@dataclass(frozen=True)
class Drawing:
    """Shapes in drawing order on a canvas of the given size."""

    width: float
    height: float
    title: str
    shapes: tuple[Box | Line | Label, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Only the rectangles."""
        return tuple(shape for shape in self.shapes if isinstance(shape, Box))

    @property
    def labels(self) -> tuple[Label, ...]:
        """Only the texts."""
        return tuple(shape for shape in self.shapes if isinstance(shape, Label))


def to_svg(drawing: Drawing) -> str:
    """Render as an `<svg>` element for embedding in HTML; every text is escaped."""
    parts = [
        f'<svg role="img" aria-label="{escape(drawing.title)}" '
        f'width="{drawing.width:g}" height="{drawing.height:g}" '
        f'viewBox="0 0 {drawing.width:g} {drawing.height:g}" font-family="sans-serif">'
    ]
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            parts.append(_svg_box(shape))
        elif isinstance(shape, Line):
            parts.append(
                f'<line x1="{shape.x1:g}" y1="{shape.y1:g}" x2="{shape.x2:g}" y2="{shape.y2:g}" '
                'stroke="currentColor" stroke-opacity="0.5"/>'
            )
        else:
            parts.append(_svg_label(shape))
    return "\n".join([*parts, "</svg>"])


def to_figure(drawing: Drawing, *, ink: str, paper: str) -> Figure:
    """Render as a matplotlib figure (no pyplot, no display)."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = (drawing.width / PIXELS_PER_INCH, drawing.height / PIXELS_PER_INCH)
    figure = Figure(figsize=size, dpi=DPI, facecolor=paper)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.axis("off")
    anchors = {"middle": "center", "start": "left", "end": "right"}
    for order, shape in enumerate(drawing.shapes):  # matplotlib would put lines above boxes
        if isinstance(shape, Box):
            patch = Rectangle(
                (shape.x, shape.y),
                shape.width,
                shape.height,
                facecolor=shape.fill or "none",
                edgecolor=ink if shape.outline else "none",
                linewidth=shape.outline * POINTS_PER_PIXEL,
                linestyle=(0, (4, 3)) if shape.dashed else "-",
                zorder=order,
            )
            axes.add_patch(patch)
        elif isinstance(shape, Line):
            axes.plot(
                [shape.x1, shape.x2],
                [shape.y1, shape.y2],
                color=ink,
                alpha=0.5,
                lw=0.7,
                zorder=order,
            )
        else:
            axes.text(
                shape.x,
                shape.y,
                shape.text.replace("$", r"\$"),  # no mathtext in names
                color=LABEL_ON_FILL if shape.on_fill else ink,
                fontsize=shape.size * POINTS_PER_PIXEL,
                fontweight="bold" if shape.bold else "normal",
                ha=anchors[shape.anchor],
                va="center",
                zorder=order,
            )
    return figure


def _svg_box(box: Box) -> str:
    stroke = f'stroke="currentColor" stroke-width="{box.outline:g}"' if box.outline else ""
    dashes = ' stroke-dasharray="4 3"' if box.dashed else ""
    tooltip = f"<title>{escape(box.tooltip)}</title>" if box.tooltip else ""
    # a box without colour still answers the mouse, so that its tooltip appears
    fill = f'fill="{box.fill}"' if box.fill else 'fill="none" pointer-events="all"'
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="2" '
        f"{fill} {stroke}{dashes}>{tooltip}</rect>"
    )


def _svg_label(label: Label) -> str:
    weight = ' font-weight="bold"' if label.bold else ""
    colour = LABEL_ON_FILL if label.on_fill else "currentColor"
    return (
        f'<text x="{label.x:g}" y="{label.y:g}" font-size="{label.size:g}" fill="{colour}" '
        f'text-anchor="{label.anchor}" dominant-baseline="central" pointer-events="none"{weight}>'
        f"{escape(label.text)}</text>"
    )
