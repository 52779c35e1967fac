"""Attach a segmentation network's post-processing, so that the file outputs labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..graph import Graph
from ..graph.contract import LABELS, state_outputs
from ..graph.node_maker import NodeMaker, resized_like
from .output_maps import find_maps

KINDS = ("argmax",)
DTYPES = {"int64": onnx.TensorProto.INT64, "uint8": onnx.TensorProto.UINT8}
RESIZE_SINCE = 13
BILINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}


@dataclasses.dataclass(frozen=True)
class AttachPostprocess(Pass):
    """Turn segmentation logits into labels of the image's size.

    Matches  the first output of shape (N, C, H, W), float.
    Changes  bilinear Resize to the image's height and width (half pixel centres, as in training)
             if the logits are smaller, then ArgMax over the classes, then a Cast for uint8. Output
             ``labels`` (N, H, W) replaces the logits; the manifest says
             ``postprocess: argmax``.
    Keeps    nothing: the interface changes on purpose. Left when there is no such output.
    """

    name: ClassVar[str] = "attach-postprocess"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    kind: str = "argmax"
    dtype: str = "int64"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind}; known: {', '.join(KINDS)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype}; known: {', '.join(DTYPES)}")

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        if graph.manifest.get("postprocess") == self.kind:
            return report
        shapes = graph.infer(graph.image_size()).shapes
        place = find_maps(graph, shapes, "logits (N, C, H, W)", RESIZE_SINCE, least=2)
        if isinstance(place, str):
            report.left["graph"] = place
            return report
        logits = graph.outputs[place]
        image = next(t for t in graph.inputs if t.shape is not None and len(t.shape) == 4)
        make = NodeMaker(graph, f"{logits.name}.labels", "head")
        sides = shapes[logits.name][2:]
        current: gs.Tensor = logits
        if sides != shapes[image.name][2:] or None in sides:
            inputs = resized_like(make, logits, image)
            current = make("Resize", *inputs, dtype=logits.dtype, **BILINEAR)
            report.rewrote[make.nodes[-1].name] = "resize to the image"
        classes = int(np.int64(shapes[logits.name][1] or 0))
        if self.dtype == "uint8" and classes > 256:
            report.left["graph"] = f"{classes} classes do not fit into uint8"
            return report
        labels = make("ArgMax", current, axis=1, keepdims=0, select_last_index=0, dtype=np.int64)
        if self.dtype != "int64":
            labels = make("Cast", labels, to=DTYPES[self.dtype], dtype=np.dtype(self.dtype))
        labels.name = graph.new_name("labels")
        batch, _, height, width = logits.shape if logits.shape else [None] * 4
        if current is not logits:
            height, width = image.shape[2:]
        labels.shape = [batch, height, width]
        graph.put_outputs([*graph.outputs[:place], labels, *graph.outputs[place + 1 :]])
        graph.insert(make.nodes, after=graph.nodes[-1])
        graph.manifest["postprocess"] = self.kind
        state_outputs(graph.manifest, [t.name for t in graph.outputs], (LABELS,), place)
        report.rewrote[make.nodes[-1].name] = "labels from logits"
        return report
