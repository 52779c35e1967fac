"""Where an image input has its height and width, read from the graph, not from the axis order."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from .operators import PADS_BY_WINDOW, READS_SIZE

FIRST = (2, 3)  # axes of (N, C, H, W)
LAST = (1, 2)  # axes of (N, H, W, C): Keras, tf2onnx
TO_FIRST = [0, 3, 1, 2]
COLOURS = (1, 3, 4)

_EACH_ALONE = ("Cast", "Identity", "Add", "Sub", "Mul", "Div", "BatchNormalization")


def image_axes(tensor: gs.Tensor) -> tuple[int, int] | None:
    """Return the axes of height and width of an input; None if it is not an image (not of rank 4).

    Channels are last where all that reads the image transposes it, also behind a cast or a
    normalisation; or where only the last side can be colours.
    """
    shape = tensor.shape
    if shape is None or len(shape) != 4:
        return None
    turned = _is_turned(tensor, 4)
    if turned is None:
        more = all(not isinstance(side, int) or side > max(COLOURS) for side in shape[1:3])
        turned = shape[3] in COLOURS and more
    return LAST if turned else FIRST


def with_size(
    shape: Sequence[int | str | None], axes: tuple[int, int], size: Sequence[int | str | None]
) -> list[int | str | None]:
    """Return ``shape`` with another height and width."""
    sized = list(shape)
    for axis, side in zip(axes, size, strict=True):
        sized[axis] = side
    return sized


def sides(
    shape: Sequence[int | str | None], axes: tuple[int, int]
) -> tuple[int | str | None, int | str | None]:
    """Return height and width."""
    return shape[axes[0]], shape[axes[1]]


def _is_turned(tensor: gs.Tensor, depth: int) -> bool | None:
    """Say whether all readers turn (N, H, W, C); None: the graph does not tell."""
    turns: set[bool | None] = set()
    for node in tensor.outputs:
        if node.op == "Transpose" and list(node.attrs.get("perm", [])) == TO_FIRST:
            turns.add(True)
        elif node.op in _EACH_ALONE and node.inputs and node.inputs[0] is tensor and depth:
            turns.add(_is_turned(node.outputs[0], depth - 1))
        elif node.op in PADS_BY_WINDOW:
            turns.add(False)
        elif node.op not in READS_SIZE:
            turns.add(None)
    return turns.pop() if len(turns) == 1 else None
