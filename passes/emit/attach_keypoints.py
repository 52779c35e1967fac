"""Attach a pose network's post-processing, so that the file outputs keypoints and scores."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..graph import Graph
from ..graph.contract import JOINT_SCORES, KEYPOINTS, state_outputs
from ..graph.node_maker import NodeMaker
from .output_maps import find_maps

KIND = "keypoints"
SINCE = 13  # Squeeze with the axes as an input
QUARTER = np.array(0.25, np.float32)
HALF = np.array(0.5, np.float32)


@dataclasses.dataclass(frozen=True)
class AttachKeypoints(Pass):
    """Turn heatmaps into keypoints: the highest cell, moved towards its higher neighbour.

    Matches  the first output of shape (N, K, h, w), float.
    Changes  ArgMax over the cells of each heatmap (the first of equals), then a quarter of a cell
             towards the higher neighbour on each axis (none at the edge, or where they are equal),
             then pixels of the input: (cell + 0.5) * input / heatmap - 0.5. Outputs ``keypoints``
             (N, K, 2), x and y, and ``scores`` (N, K), the heatmaps' highest values, replace
             the heatmaps; for any batch and input size. The manifest says ``postprocess:
             keypoints``.
    Keeps    nothing: the interface changes on purpose. Left when there is no such output.
    """

    name: ClassVar[str] = "attach-keypoints"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        if graph.manifest.get("postprocess") == KIND:
            return report
        shapes = graph.infer(graph.image_size()).shapes
        place = find_maps(graph, shapes, "heatmaps (N, K, h, w)", SINCE)
        if isinstance(place, str):
            report.left["graph"] = place
            return report
        heatmaps = graph.outputs[place]
        image = next(t for t in graph.inputs if t.shape is not None and len(t.shape) == 4)
        make = NodeMaker(graph, f"{heatmaps.name}.{KIND}", "postprocess")
        outputs = _decode(make, heatmaps, image)
        batch, joints = (heatmaps.shape or [None, None])[:2]
        joints = shapes[heatmaps.name][1] if joints is None else joints
        for tensor, name, sides in zip(outputs, (KIND, "scores"), ([2], []), strict=True):
            tensor.name = graph.new_name(name)
            tensor.shape = [batch, joints, *sides]
        graph.put_outputs([*graph.outputs[:place], *outputs, *graph.outputs[place + 1 :]])
        graph.insert(make.nodes, after=graph.nodes[-1])
        graph.manifest["postprocess"] = KIND
        meanings = (KEYPOINTS, JOINT_SCORES)
        state_outputs(graph.manifest, [t.name for t in graph.outputs], meanings, place)
        report.rewrote[outputs[0].inputs[0].name] = "keypoints from heatmaps"
        return report


def _decode(make: NodeMaker, heatmaps: gs.Tensor, image: gs.Tensor) -> list[gs.Variable]:
    """Return keypoints float32 (N, K, 2) and scores float32 (N, K)."""
    if heatmaps.dtype is not None and heatmaps.dtype != np.float32:
        heatmaps = make("Cast", heatmaps, to=onnx.TensorProto.FLOAT, dtype=np.float32)
    flat = make("Reshape", heatmaps, np.array([0, 0, -1]), dtype=np.float32)
    best = make("ArgMax", flat, axis=2, keepdims=1, select_last_index=0, dtype=np.int64)
    score = make("GatherElements", flat, best, axis=2, dtype=np.float32)
    cells, pixels = (make("Shape", t, dtype=np.int64) for t in (heatmaps, image))
    width = make("Gather", cells, np.array(3), axis=0, dtype=np.int64)
    height = make("Gather", cells, np.array(2), axis=0, dtype=np.int64)
    column = make("Mod", best, width, dtype=np.int64)
    row = make("Div", best, width, dtype=np.int64)
    axes = []
    for spot, count, step, axis in ((column, width, np.array(1), 3), (row, height, width, 2)):
        moved = _moved(make, flat, best, spot, count, step)
        scale = make(
            "Div",
            make("Cast", make("Gather", pixels, np.array(axis), axis=0), to=1, dtype=np.float32),
            make("Cast", count, to=1, dtype=np.float32),
            dtype=np.float32,
        )
        middle = make("Add", moved, HALF, dtype=np.float32)
        axes.append(make("Sub", make("Mul", middle, scale), HALF, dtype=np.float32))
    return [
        make("Concat", *axes, axis=2, dtype=np.float32),
        make("Squeeze", score, np.array([2]), dtype=np.float32),
    ]


def _moved(
    make: NodeMaker,
    flat: gs.Tensor,
    best: gs.Tensor,
    spot: gs.Tensor,
    count: gs.Tensor,
    step: gs.Tensor | np.ndarray,
) -> gs.Variable:
    """Return the place on one axis, float32 (N, K, 1), moved towards the higher neighbour.

    spot: the place, int64 (N, K, 1); count: cells on the axis; step: from one to the next in
    ``flat``.
    """
    last = make("Sub", count, np.array(1), dtype=np.int64)
    inside = make(
        "And",
        make("Greater", spot, np.array(0), dtype=bool),
        make("Less", spot, last, dtype=bool),
        dtype=bool,
    )
    # at the edge both neighbours are the cell itself: they are equal, and nothing moves
    on = make("Mul", make("Cast", inside, to=onnx.TensorProto.INT64), step, dtype=np.int64)
    after = make("GatherElements", flat, make("Add", best, on, dtype=np.int64), axis=2)
    before = make("GatherElements", flat, make("Sub", best, on, dtype=np.int64), axis=2)
    rise = make("Sign", make("Sub", after, before, dtype=np.float32), dtype=np.float32)
    shift = make("Mul", rise, QUARTER, dtype=np.float32)
    return make("Add", make("Cast", spot, to=1, dtype=np.float32), shift, dtype=np.float32)
