"""Draw seed and target block by block, as in FNA++ Fig. 7.

One rectangle a block: its colour is the kernel, its height the expansion, or the hidden width where
that varies (blocks that are chosen by groups alone, K5G2, are of one height); a skip is a thin
dashed outline; the blocks of one stage stand in a dashed box; S=2 and D=2 mark stride and dilation.
Rows share their columns, so that a layer of the target stands under the same layer of the seed;
where its choice differs from the first row's its outline is bold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fnac.passes.blocks.candidate_names import Spelled, read_name
from fnac.passes.errors import CandidateNameError
from fnac.passes.stored_layers import StoredLayer
from fnac.report.drawing import Box, Drawing, Label, Line
from fnac.report.network import FixedBlock, Network
from fnac.text import human

KERNEL_FILLS = {3: "#8ecae6", 5: "#ffd166", 7: "#f4978e"}
OTHER_KERNEL_FILL = "#b7e4c7"
FIXED_FILL = "#ced4da"
HEAD_FILL = "#cdb4db"
EXPANSION_HEIGHTS = {1.0: 24.0, 3.0: 40.0, 6.0: 64.0}

BLOCK_WIDTH = 34.0
BLOCK_GAP = 4.0
STAGE_GAP = 12.0
ROW_HEIGHT = 118.0
TITLE_WIDTH = 80.0
MARGIN = 12.0
HEADER = 20.0
LEGEND = 34.0


@dataclass(frozen=True)
class _Column:
    """A place on the canvas: a layer (with its index), a fixed block, or the head."""

    x: float
    layer: int | None = None
    fixed: FixedBlock | None = None


@dataclass(frozen=True)
class _Frame:
    """The dashed box of one stage."""

    x: float
    width: float
    layers: tuple[StoredLayer, ...]


def read_choice(choice: str) -> Spelled | None:
    """Read `k5e6`, `k5g2`; None for anything else."""
    try:
        return read_name(choice)
    except CandidateNameError:
        return None


def block_fill(choice: str) -> str:
    """Colour of a block, by its kernel."""
    spelled = read_choice(choice)
    if spelled is None:
        return FIXED_FILL
    return KERNEL_FILLS.get(spelled.kernel, OTHER_KERNEL_FILL)


def block_height(choice: str) -> float:
    """Height of a block in pixels: by its expansion or width; the middle height if it has none."""
    spelled = read_choice(choice)
    if spelled is None or spelled.expansion is None:
        width = 1.0 if spelled is None or spelled.width is None else spelled.width
        return min(72.0, EXPANSION_HEIGHTS[3] * width)
    heights = EXPANSION_HEIGHTS
    return heights.get(spelled.expansion, min(72.0, 16.0 + 8.0 * spelled.expansion))


def draw_architectures(network: Network, rows: Sequence[tuple[str, Sequence[str]]]) -> Drawing:
    """Draw one row for each (title, choices in network order); choices must fit the network."""
    columns, frames, width = _columns(network)
    shapes: list[Box | Line | Label] = []
    for row, (title, choices) in enumerate(rows):
        middle = HEADER + ROW_HEIGHT * (row + 0.5)
        cost = network.cost(choices)
        shapes += [
            Label(MARGIN, middle - 9, title, 13, "start", bold=True),
            Label(MARGIN, middle + 9, f"{human(cost.madds)} MAdds", 10, "start"),
            Line(TITLE_WIDTH, middle, width - MARGIN - BLOCK_WIDTH, middle),
        ]
        for frame in frames:
            shapes.append(Box(frame.x, middle - 53, frame.width, 104, outline=0.7, dashed=True))
        for column in columns:
            first_row = rows[0][1]
            shapes += _block(network, column, choices, first_row, middle)
    shapes += [
        Label(frame.x + frame.width / 2, HEADER / 2, _stage_title(frame.layers), 10)
        for frame in frames
    ]
    height = HEADER + ROW_HEIGHT * len(rows) + LEGEND
    names = {name for layer in network.layers for name in layer.names}
    shapes += _legend(height - LEGEND / 2, names)
    titles = " and ".join(title for title, _ in rows)
    return Drawing(
        max(width, 560.0), height, f"Architecture, block by block: {titles}", tuple(shapes)
    )


def _columns(network: Network) -> tuple[list[_Column], list[_Frame], float]:
    """Place every block from left to right; returns columns, stage boxes and the width."""
    columns: list[_Column] = []
    frames: list[_Frame] = []
    x = MARGIN + TITLE_WIDTH
    for block in network.fixed:
        if not block.after_layers:
            columns.append(_Column(x, fixed=block))
            x += BLOCK_WIDTH + BLOCK_GAP
    x += STAGE_GAP
    numbered = list(enumerate(network.layers))
    for _, group in groupby(numbered, key=lambda item: item[1].stage):
        members = list(group)
        left = x - BLOCK_GAP
        for index, _layer in members:
            columns.append(_Column(x, layer=index))
            x += BLOCK_WIDTH + BLOCK_GAP
        frames.append(_Frame(left, x - left, tuple(layer for _, layer in members)))
        x += STAGE_GAP
    for block in network.fixed:
        if block.after_layers:
            columns.append(_Column(x, fixed=block))
            x += BLOCK_WIDTH + BLOCK_GAP
    if network.head:
        columns.append(_Column(x))
        x += 2 * BLOCK_WIDTH
    return columns, frames, x + MARGIN


def _block(
    network: Network,
    column: _Column,
    choices: Sequence[str],
    first_row: Sequence[str],
    middle: float,
) -> list[Box | Line | Label]:
    """Draw one column of one row."""
    centre = column.x + BLOCK_WIDTH / 2
    if column.fixed is not None:
        fixed = column.fixed
        height = block_height(fixed.label)
        tooltip = f"fixed: {fixed.label}, {fixed.channels} channels"
        fill = block_fill(fixed.label)
        return [
            Box(column.x, middle - height / 2, BLOCK_WIDTH, height, fill, tooltip=tooltip),
            Label(centre, middle, _caption(fixed.label), 9.5, on_fill=True),
            *_marks(centre, middle - height / 2, fixed.stride, fixed.dilation),
        ]
    if column.layer is None:
        name = str(network.head)
        width = 2 * BLOCK_WIDTH
        return [
            Box(column.x, middle - 40, width, 80, HEAD_FILL, tooltip=f"head: {name}"),
            Label(column.x + width / 2, middle, name, 10, on_fill=True),
        ]
    layer = network.layers[column.layer]
    choice = choices[column.layer]
    cost = layer.candidates[layer.index(choice)]
    changed = choice != first_row[column.layer]
    tooltip = (
        f"{layer.name}: {choice}"
        + (f" (was {first_row[column.layer]})" if changed else "")
        + f"; {human(cost.madds)} MAdds, {human(cost.params)} parameters"
    )
    if choice == "skip":
        height = EXPANSION_HEIGHTS[3]
        outline = 1.6 if changed else 0.7
        top = middle - height / 2
        return [
            Box(column.x, top, BLOCK_WIDTH, height, None, outline, True, tooltip),
            Label(centre, middle - 8, "skip", 9),
        ]
    height = block_height(choice)
    top = middle - height / 2
    outline = 2.2 if changed else 0.8
    return [
        Box(column.x, top, BLOCK_WIDTH, height, block_fill(choice), outline, tooltip=tooltip),
        Label(centre, middle, _caption(choice), 10.5 if len(choice) <= 6 else 7.0, on_fill=True),
        *_marks(centre, top, layer.stride, layer.dilation),
    ]


def _marks(centre: float, top: float, stride: int, dilation: int) -> list[Label]:
    """Write S=2 and D=2 above a block where they are not 1."""
    marks = [f"S={stride}"] * (stride > 1) + [f"D={dilation}"] * (dilation > 1)
    return [
        Label(centre, top - 7 - 10 * place, mark, 9) for place, mark in enumerate(reversed(marks))
    ]


def _stage_title(layers: Sequence[StoredLayer]) -> str:
    """`stage 2 · 24 ch`, as far as the box is wide enough and the channels are known."""
    title = f"stage {layers[0].stage}"
    channels = layers[0].channels
    return f"{title} · {channels} ch" if channels and len(layers) > 1 else title


def _caption(label: str) -> str:
    """`k5e6` is written K5E6, `conv3x3` 3×3."""
    if label.startswith("conv"):
        return label.removeprefix("conv").replace("x", "×")
    return label.upper()


def _legend(middle: float, names: set[str]) -> list[Box | Line | Label]:
    """Colours, heights and outlines in one line; ``names`` are the candidates."""
    shapes: list[Box | Line | Label] = []
    x = MARGIN
    for kernel, fill in KERNEL_FILLS.items():
        shapes.append(Box(x, middle - 6, 12, 12, fill))
        shapes.append(Label(x + 17, middle, f"kernel {kernel}", 10, "start"))
        x += 76
    shapes.append(Box(x, middle - 6, 12, 12, outline=0.7, dashed=True))
    shapes.append(Label(x + 17, middle, "skip", 10, "start"))
    x += 60
    shapes.append(Box(x, middle - 6, 12, 12, outline=2.2))
    shapes.append(Label(x + 17, middle, "differs from the seed", 10, "start"))
    x += 140
    spelled = [one for one in map(read_choice, names) if one is not None]
    meaning = "G: groups"
    if any(one.expansion is not None for one in spelled):
        meaning = "height: expansion"
    elif any(one.width is not None for one in spelled):
        meaning = "G: groups; height: hidden width"
    shapes.append(Label(x, middle, meaning, 10, "start"))
    return shapes
