"""Attach a detector's post-processing, so that the file outputs boxes, scores and labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..graph import Graph, Shape
from ..graph.contract import BOX_LABELS, BOX_SCORES, BOXES, state_outputs
from ..graph.node_maker import NodeMaker
from .anchor_nodes import anchor_nodes
from .anchors import LARGEST_LOG_SCALE, AnchorSpec, anchor_boxes
from .detector_answers import DetectorAnswers

KIND = "detections"
POSTPROCESS = "postprocess"
SINCE = 13  # Softmax along one axis, GatherND with a batch


@dataclasses.dataclass(frozen=True)
class AttachDetections(DetectorAnswers, Pass):
    """Decode a detector's outputs into boxes and suppress duplicates.

    Matches  two outputs, class logits (N, A, C) and box deltas (N, A, 4), in this order, and the
             manifest's ``anchors``.
    Changes  appends scores by sigmoid, or softmax without the background; the ``candidates``
             anchors with the best score per image; their boxes, decoded and clipped to the
             image; NonMaxSuppression per class; the ``detections`` best of the rest.
             Outputs ``boxes`` (N, D, 4) x0 y0 x1 y1 in pixels of the input, ``scores`` (N, D)
             in falling order, ``labels`` (N, D) from 0; unused rows have score 0, label -1.
             Anchors are stored if the input has a fixed size, else computed in the graph.
             The manifest says ``postprocess: detections``.
    Keeps    nothing: the interface changes on purpose. Left when there are no such outputs.

    iou         boxes of one class that overlap more are one object
    score       boxes below are dropped
    candidates  anchors per image that are considered
    detections  rows of the outputs
    """

    name: ClassVar[str] = "attach-detections"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class; raises UnsupportedGraphError for anchors that cannot be read."""
        report = Report()
        if graph.manifest.get("postprocess") == KIND:
            return report
        if "anchors" not in graph.manifest:
            report.left["graph"] = "the manifest has no anchors"
            return report
        spec = AnchorSpec.read(graph.manifest["anchors"])
        why_not = _why_not_attached(graph, spec)
        if why_not is not None:
            report.left["graph"] = why_not
            return report
        make = NodeMaker(graph, KIND, POSTPROCESS)
        batch = (graph.outputs[0].shape or [None])[0]
        outputs = self._attach(make, graph, spec)
        rows = self._rows(graph, spec)
        for tensor, name, sides in zip(
            outputs, ("boxes", "scores", "labels"), ([4], [], []), strict=True
        ):
            tensor.name = graph.new_name(name)
            tensor.shape = [batch, rows, *sides]
        graph.put_outputs(outputs)
        graph.insert(make.nodes, after=graph.nodes[-1])
        graph.manifest["postprocess"] = KIND
        scores = {**BOX_SCORES, "score_floor": self.score}
        names = [tensor.name for tensor in outputs]
        state_outputs(graph.manifest, names, (BOXES, scores, BOX_LABELS))
        report.rewrote[outputs[0].inputs[0].name] = "boxes, scores, labels"
        return report

    def _attach(self, make: NodeMaker, graph: Graph, spec: AnchorSpec) -> list[gs.Variable]:
        logits, deltas = (_single(make, t) for t in graph.outputs)
        image = _image(graph)
        scores = _scores(make, logits, spec)
        best = _largest(make, scores, graph.opset)
        count = make("Gather", make("Shape", best), np.array([1]), axis=0)
        k = make("Min", count, np.array([self.candidates]), dtype=np.int64)
        _, order = make.several("TopK", 2, best, k, axis=1)
        order.dtype = np.dtype(np.int64)
        rows = make("Unsqueeze", order, np.array([-1]), dtype=np.int64)
        scores = make("GatherND", scores, rows, batch_dims=1, dtype=np.float32)
        deltas = make("GatherND", deltas, rows, batch_dims=1, dtype=np.float32)
        size = _fixed_size(image)
        anchors = anchor_boxes(spec, size) if size is not None else anchor_nodes(make, image, spec)
        chosen = make("Gather", anchors, order, axis=0, dtype=np.float32)
        boxes = _decode(make, deltas, chosen, spec, image, size)
        by_class = make("Transpose", scores, perm=[0, 2, 1], dtype=np.float32)
        selected = make(
            "NonMaxSuppression", boxes, by_class, np.array([self.detections]),
            np.array([self.iou], np.float32), np.array([self.score], np.float32), dtype=np.int64,
        )  # fmt: skip
        # what NMS kept, put back in its place among zeros, is sorted for all images at once
        kept = make("GatherND", by_class, selected, dtype=np.float32)
        zeros = make("ConstantOfShape", make("Shape", by_class), dtype=np.float32)
        dense = make("ScatterND", zeros, selected, kept, dtype=np.float32)
        flat = make("Reshape", dense, np.array([0, -1]), dtype=np.float32)
        width = make("Gather", make("Shape", flat), np.array([1]), axis=0)
        most = make("Min", width, np.array([self.detections]), dtype=np.int64)
        score, place = make.several("TopK", 2, flat, most, axis=1)
        score.dtype, place.dtype = np.dtype(np.float32), np.dtype(np.int64)
        label = make("Div", place, k, dtype=np.int64)
        row = make("Mod", place, k, dtype=np.int64)
        row = make("Unsqueeze", row, np.array([-1]), dtype=np.int64)
        box = make("GatherND", boxes, row, batch_dims=1, dtype=np.float32)
        there = make("Greater", score, np.array(0, np.float32), dtype=bool)
        label = make("Where", there, label, np.array(-1), dtype=np.int64)
        here = make("Unsqueeze", there, np.array([-1]), dtype=bool)
        box = make("Where", here, box, np.array(0, np.float32), dtype=np.float32)
        return [box, score, label]

    def _rows(self, graph: Graph, spec: AnchorSpec) -> int | str:
        """Return D; a symbol where it depends on the input's size."""
        size = _fixed_size(_image(graph))
        shape = graph.outputs[0].shape
        classes = int(shape[2]) - (spec.scores == "softmax")
        if size is None:
            return self.detections if self.candidates >= self.detections else "detections"
        return min(self.detections, min(self.candidates, spec.count(size)) * classes)


def _why_not_attached(graph: Graph, spec: AnchorSpec) -> str | None:
    if graph.opset < SINCE:
        return f"operator set {graph.opset} is below {SINCE}; raise-opset first"
    if not any(t.shape is not None and len(t.shape) == 4 for t in graph.inputs):
        return "no input is an image (N, C, H, W)"
    shapes = graph.infer(graph.image_size()).shapes
    answers: list[Shape] = [shapes.get(t.name, ()) for t in graph.outputs]
    if (
        len(answers) != 2
        or any(len(shape) != 3 for shape in answers)
        or answers[1][2] != 4
        or not isinstance(answers[0][2], int)
    ):
        shown = ", ".join(
            f"{t.name} {list(s)}" for t, s in zip(graph.outputs, answers, strict=True)
        )
        return f"no class logits (N, A, C) and box deltas (N, A, 4); found {shown}"
    steps = [step for level in spec.levels for step in level.stride]
    if _fixed_size(_image(graph)) is None and any(step != int(step) for step in steps):
        return "the anchors' strides are no whole numbers: they hold for one input size only"
    size = graph.image_size()
    if size is not None and isinstance(answers[0][1], int):
        anchors = spec.count(size)
        if answers[0][1] != anchors or answers[1][1] != anchors:
            return (
                f"{answers[0][1]} class rows and {answers[1][1]} box rows; the anchors of the "
                f"manifest are {anchors} at {size[0]}x{size[1]}"
            )
    return None


def _image(graph: Graph) -> gs.Variable:
    return next(t for t in graph.inputs if t.shape is not None and len(t.shape) == 4)


def _fixed_size(image: gs.Variable) -> tuple[int, int] | None:
    height, width = image.shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _single(make: NodeMaker, tensor: gs.Tensor) -> gs.Tensor:
    """Return ``tensor`` in float32."""
    if tensor.dtype is None or tensor.dtype == np.float32:
        return tensor
    return make("Cast", tensor, to=onnx.TensorProto.FLOAT, dtype=np.float32)


def _scores(make: NodeMaker, logits: gs.Tensor, spec: AnchorSpec) -> gs.Variable:
    if spec.scores == "sigmoid":
        return make("Sigmoid", logits, dtype=np.float32)
    shares = make("Softmax", logits, axis=2, dtype=np.float32)
    ends = np.array([1]), np.array([np.iinfo(np.int64).max]), np.array([2])
    return make("Slice", shares, *ends, dtype=np.float32)


def _largest(make: NodeMaker, scores: gs.Tensor, opset: int) -> gs.Variable:
    """Return the best class's score (N, A)."""
    if opset >= 18:  # the axes became an input
        return make("ReduceMax", scores, np.array([2]), keepdims=0, dtype=np.float32)
    return make("ReduceMax", scores, axes=[2], keepdims=0, dtype=np.float32)


def _part(make: NodeMaker, tensor: gs.Tensor, start: int) -> gs.Variable:
    """Return columns ``start`` and ``start + 1`` of the last axis."""
    ends = np.array([start]), np.array([start + 2]), np.array([2])
    return make("Slice", tensor, *ends, dtype=np.float32)


def _decode(
    make: NodeMaker,
    deltas: gs.Tensor,
    anchors: gs.Tensor,
    spec: AnchorSpec,
    image: gs.Variable,
    size: tuple[int, int] | None,
) -> gs.Variable:
    """Return boxes (N, k, 4), as ``anchors.decode_boxes`` computes them."""
    half_of, single = np.array(0.5, np.float32), np.float32
    scaled = deltas
    if spec.box_std != (1.0, 1.0, 1.0, 1.0):
        scaled = make("Mul", deltas, np.array(spec.box_std, np.float32), dtype=single)
    low = _part(make, anchors, 0)
    sizes = make("Sub", _part(make, anchors, 2), low, dtype=single)
    centres = make("Add", low, make("Mul", sizes, half_of, dtype=single), dtype=single)
    shift = make("Mul", _part(make, scaled, 0), sizes, dtype=single)
    middle = make("Add", centres, shift, dtype=single)
    limit = np.array(LARGEST_LOG_SCALE, np.float32)
    growth = make("Exp", make("Min", _part(make, scaled, 2), limit, dtype=single), dtype=single)
    half = make("Mul", make("Mul", sizes, growth, dtype=single), half_of, dtype=single)
    corners = make(
        "Concat", make("Sub", middle, half, dtype=single), make("Add", middle, half, dtype=single),
        axis=2, dtype=single,
    )  # fmt: skip
    edge: gs.Tensor | np.ndarray
    if size is None:
        sides = make("Gather", make("Shape", image), np.array([3, 2, 3, 2]), axis=0)
        edge = make("Cast", sides, to=onnx.TensorProto.FLOAT, dtype=single)
    else:
        edge = np.array([size[1], size[0]] * 2, np.float32)
    inside = make("Max", corners, np.array(0, np.float32), dtype=single)
    return make("Min", inside, edge, dtype=single)
