"""The shapes of a network at one image size, also behind arithmetic that ONNX does not follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base import Report, Rewrote
from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.operators import LAYERS
from ..graph.surgery import become_constant, elements, remove_nodes
from .evaluation import fold_stored


def shapes_at(graph: Graph, size: Sequence[int] | None) -> dict[str, Shape]:
    """Return tensor name -> shape for a batch of one, at ``size`` (H, W).

    Where arithmetic on sizes (a channel shuffle, TF's padding) hides a shape from ONNX's inference,
    it is evaluated on a copy, from known shapes to the next, until nothing more becomes known.

    Raises UnsupportedGraphError if ONNX cannot infer the graph.
    """
    shapes = graph.infer(size, batch=1).shapes
    if _hidden(graph, shapes):
        probe = graph.copy()
        while _evaluate(probe, shapes):
            shapes |= probe.infer(size, batch=1).shapes
    if size is not None:
        _check_reshapes(graph, shapes, size)
    return shapes


def _check_reshapes(graph: Graph, shapes: dict[str, Shape], size: Sequence[int]) -> None:
    """Raise UnsupportedGraphError for a Reshape to a target that is of another image size."""
    for node in graph.nodes:
        if node.op != "Reshape":
            continue
        before, after = (shapes.get(t.name) for t in (node.inputs[0], node.outputs[0]))
        counts = [elements(before), elements(after)]
        if None not in counts and counts[0] != counts[1]:
            raise UnsupportedGraphError(
                f"{node.name} (Reshape): {before} at {size[0]}x{size[1]} cannot become {after}: "
                "the file computes at one size; leave the size out, or let it follow with "
                "fnac run-pass 'raise-opset, follow-sizes'"
            )


def _hidden(graph: Graph, shapes: dict[str, Shape]) -> bool:
    return any(
        not _numeric(shapes.get(tensor.name))
        for node in graph.nodes
        if node.op in LAYERS
        for tensor in (node.inputs[0], node.outputs[0])
    )


def _numeric(shape: Shape | None) -> bool:
    return shape is not None and all(isinstance(d, int) for d in shape)


def _evaluate(probe: Graph, shapes: dict[str, Shape]) -> bool:
    """Store what can be known by now; say whether there was anything."""
    found = False
    for node in list(probe.nodes):
        if not node.outputs or probe.is_output(node.outputs[0]):
            continue
        shape = shapes.get(node.inputs[0].name) if node.op == "Shape" else None
        if shape is not None and _numeric(shape):
            part = slice(node.attrs.get("start", 0), node.attrs.get("end"))
            become_constant(probe, node.outputs[0], np.array(shape[part], np.int64))
            found = True
        else:
            found |= isinstance(fold_stored(node, probe, Report()), Rewrote)
    remove_nodes(probe, [node for node in probe.nodes if not node.outputs])
    return found
