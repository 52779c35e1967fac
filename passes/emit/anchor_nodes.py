"""Anchors computed inside a graph, from the shape of the input image."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.node_maker import NodeMaker
from .anchors import AnchorSpec


def anchor_nodes(make: NodeMaker, image: gs.Variable, spec: AnchorSpec) -> gs.Variable:
    """Return all anchors (A, 4) for any image size, as ``anchor_boxes`` does."""
    sides = make("Shape", image)
    cells = [make("Gather", sides, np.array(axis), axis=0, dtype=np.int64) for axis in (2, 3)]
    last = spec.levels[0].stride
    parts = []
    for place, level in enumerate(spec.levels):
        if place == 0:
            steps = [int(step) for step in level.stride]
            cells = [_divided_up(make, c, s) for c, s in zip(cells, steps, strict=True)]
        else:
            for axis, times in enumerate(spec.halvings(last, level.stride)):
                for _ in range(times):
                    cells[axis] = _divided_up(make, cells[axis], 2)
        last = level.stride
        parts.append(_level(make, cells, level.stride, level.boxes, spec.centre))
    return make("Concat", *parts, axis=0, dtype=np.float32)


def _divided_up(make: NodeMaker, cells: gs.Tensor, by: int) -> gs.Variable:
    more = make("Add", cells, np.array(by - 1), dtype=np.int64)
    return make("Div", more, np.array(by), dtype=np.int64)


def _level(
    make: NodeMaker,
    cells: list[gs.Variable],
    stride: tuple[float, float],
    boxes: tuple[tuple[float, float], ...],
    centre: float,
) -> gs.Variable:
    """Return one level's anchors (rows * columns * boxes, 4)."""
    shifts = []
    for count, step, shape in zip(cells, stride, ([-1, 1, 1, 1], [1, -1, 1, 1]), strict=True):
        numbers = make("Range", np.array(0), count, np.array(1), dtype=np.int64)
        numbers = make("Cast", numbers, to=onnx.TensorProto.FLOAT, dtype=np.float32)
        middle = make("Add", numbers, np.array(centre, np.float32), dtype=np.float32)
        middle = make("Mul", middle, np.array(step, np.float32), dtype=np.float32)
        shifts.append(make("Reshape", middle, np.array(shape), dtype=np.float32))
    half = np.array(boxes, np.float32) / 2
    corners = np.concatenate([-half, half], axis=1)
    y, x = (
        make("Mul", shift, np.array(axis, np.float32), dtype=np.float32)
        for shift, axis in zip(shifts, ([0, 1, 0, 1], [1, 0, 1, 0]), strict=True)
    )
    grid = make("Add", make("Add", y, x, dtype=np.float32), corners, dtype=np.float32)
    return make("Reshape", grid, np.array([-1, 4]), dtype=np.float32)
