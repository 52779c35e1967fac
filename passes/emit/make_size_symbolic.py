"""Free the height and width of a network that was exported for one size of image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from ..graph.layout import image_axes, sides, with_size
from ..graph.surgery import argument, stored

HEIGHT, WIDTH = "height", "width"
MORE = (64, 32)
"""Rows and columns that the trial image is larger by: no stride of 32 is in the way."""


@dataclasses.dataclass(frozen=True)
class MakeSizeSymbolic(Pass):
    """Let a network for images of one size take other sizes.

    Matches  a network with one image input (N, C, H, W) whose H and W are numbers.
    Changes  these become ``height`` and ``width``; dimensions of outputs that follow the image
             become symbols. No node changes. The manifest keeps H and W as its ``size``.
    Keeps    outputs; the interface widens on purpose. Left, unchanged, where a Resize has fixed
             sizes or a larger image does not run in onnxruntime.
    """

    name: ClassVar[str] = "make-size-symbolic"
    keeps: ClassVar[Keeps] = Keeps.OUTPUTS

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        images = [t for t in graph.inputs if image_axes(t) is not None]
        axes = image_axes(images[0]) if len(images) == 1 else None
        size = [d for d in sides(images[0].shape, axes) if isinstance(d, int)] if axes else []
        if axes is None or len(size) != 2:
            return report
        name = images[0].name
        trial = graph.copy()
        image = next(t for t in trial.inputs if t.name == name)
        height, width = size
        image.shape = with_size(image.shape, axes, (HEIGHT, WIDTH))
        why_not = _why_not_symbolic(trial) or _why_not_running(graph, trial, (height, width))
        if why_not is not None:
            report.left[name] = why_not
            return report
        graph.manifest.setdefault("size", [height, width])
        graph.become(trial)
        report.rewrote[name] = f"{height}x{width} -> any size"
        return report


def _why_not_symbolic(graph: Graph) -> str | None:
    for node in graph.nodes:
        if node.op == "Resize" and stored(argument(node, 3)) is not None:
            return f"{node.name} (Resize) has fixed sizes"
    return None


def _why_not_running(graph: Graph, trial: Graph, size: tuple[int, int]) -> str | None:
    """Say why a larger image does not go through ``trial``; frees the dimensions that follow."""
    from ..running.run import random_feed, run

    larger = size[0] + MORE[0], size[1] + MORE[1]
    try:
        resizes = [node for node in graph.nodes if node.op == "Resize"]
        ends = [t.name for node in resizes for t in (node.inputs[0], node.outputs[0])]
        inner = [name for name in ends if name not in {t.name for t in graph.inputs}]
        here = run(graph, random_feed(graph), inner)
        there = run(trial, random_feed(trial, larger), inner)
        for node in resizes:
            if _stays(node, here, there):
                return f"{node.name} (Resize) has fixed sizes"
        for output in trial.outputs:
            shape = output.shape
            for axis, sides in enumerate(zip(here[output.name].shape, there[output.name].shape)):
                if shape is not None and sides[0] != sides[1] and isinstance(shape[axis], int):
                    shape[axis] = f"{output.name}.dim{axis}"
        trial.refresh_shapes()
    except (PassFailedError, UnsupportedGraphError) as error:
        return f"at {larger[0]}x{larger[1]}, {error}"
    return None


def _stays(node: gs.Node, here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Say whether a Resize answers with one size, whatever it reads."""
    name = node.outputs[0].name
    read = node.inputs[0].name
    follows = read not in here or here[read].shape != there[read].shape
    return bool(follows and here[name].shape[1:] == there[name].shape[1:])
