"""Put the normalisation of images inside the file, which then takes decoded pixels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.contract import Contract, state_input
from ..graph.layout import LAST, image_axes
from ..graph.node_maker import NodeMaker

PART = "preprocess"


@dataclasses.dataclass(frozen=True)
class TakePixels(Pass):
    """Let a network take images as uint8 (N, H, W, 3), RGB.

    Matches  one input of float32 (N, 3, H, W) that only nodes read.
    Changes  the input is uint8 (N, H, W, 3) and keeps its name; it is followed by a Cast, a
             Transpose, for BGR a Gather of the channels, a Mul and an Add: (pixel - mean) / std as
             the manifest says. The manifest then says NHWC, RGB, pixels of 0 to 255, and what
             colour to pad with.
    Keeps    the results for the same image; the interface changes on purpose. Resizing stays
             outside. Left when there is no such input.
    """

    name: ClassVar[str] = "take-pixels"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        for image in graph.inputs:
            report.note(image.name, _close(image, graph))
        return report


def _close(image: gs.Variable, graph: Graph) -> Rewrote | Left | None:
    shape = image.shape
    if shape is None or len(shape) != 4 or image.dtype == np.uint8:
        return None
    if len(graph.inputs) != 1 or image.dtype != np.float32 or shape[1] != 3:
        return Left(f"{image.dtype} {shape}: wanted one input of float32 (N, 3, H, W)")
    if image_axes(image) == LAST or graph.is_output(image):
        return Left("it is not read by nodes alone, channels first")
    stated = Contract.read(graph.manifest).input
    mean, std = stated.on_unit_range()
    prepared = gs.Variable(graph.new_name(f"{image.name}.prepared"), np.dtype(np.float32))
    graph.replace_uses(image, prepared)
    make = NodeMaker(graph, f"{image.name}.pixels", PART)
    single = np.float32
    floats = make("Cast", image, to=onnx.TensorProto.FLOAT, dtype=single)
    current = make("Transpose", floats, perm=[0, 3, 1, 2], dtype=single)
    if stated.color == "BGR":
        current = make("Gather", current, np.array([2, 1, 0]), axis=1, dtype=single)
    scale = np.array([1 / (255 * s) for s in std], single).reshape(1, 3, 1, 1)
    shift = np.array([-m / s for m, s in zip(mean, std, strict=True)], single)
    current = make("Mul", current, scale, dtype=single)
    current = make("Add", current, shift.reshape(1, 3, 1, 1), dtype=single)
    graph.replace_uses(prepared, current)
    n, _, height, width = shape
    image.dtype, image.shape = np.dtype(np.uint8), [n, height, width, 3]
    current.shape = [n, 3, height, width]
    graph.insert(make.nodes)
    pad = [float(round(value)) for value in stated.padding()]
    r, g, b = pad if stated.color == "RGB" else reversed(pad)
    state_input(
        graph.manifest,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        range=(0.0, 255.0),
        color="RGB",
        layout="NHWC",
        pad=(r, g, b),
    )
    return Rewrote("uint8 (N, H, W, 3), RGB")
