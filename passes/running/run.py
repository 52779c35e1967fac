"""Run a graph in onnxruntime on random or given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from ..errors import PassFailedError, UnsupportedGraphError
from ..graph import Graph
from ..graph.layout import image_axes, sides, with_size
from ..graph.tensor_checks import element_type
from .limits import check_feed, check_memory
from .runner import Arrays, Runner

PROBE_SIDE = 96  # images larger than this are probed at this side, if the graph allows it


def random_feed(graph: Graph, size: Sequence[int] | None = None, random_seed: int = 0) -> Arrays:
    """Return random inputs for ``graph``: images of ``size``, floats in about -2..2.

    Where the batch is symbolic it is two: one normal sample, and one in 0..1, since a network of
    ReLUs can be deaf to one of them.

    Raises UnsupportedGraphError for an input whose shape is not known in numbers.
    """
    rng = np.random.default_rng(random_seed)
    feed: Arrays = {}
    shapes: list[list[int]] = []
    images: list[tuple[int, int]] = []
    at = size or graph.image_size() or (PROBE_SIDE, PROBE_SIDE)
    for tensor in graph.inputs:
        shape = list(tensor.shape or [])
        if shape and not isinstance(shape[0], int):
            shape[0] = 2
        axes = image_axes(tensor)
        if axes is not None:
            if size is not None or not all(isinstance(d, int) for d in sides(shape, axes)):
                fixed = zip(sides(shape, axes), at, strict=True)
                own = [d if size is None and isinstance(d, int) else side for d, side in fixed]
                shape = with_size(shape, axes, own)
            images.append((shape[axes[0]], shape[axes[1]]))
        if any(not isinstance(d, int) or d < 0 for d in shape):
            raise UnsupportedGraphError(
                f"input {tensor.name}: its shape {shape} is not known in numbers; "
                "give the size with --size HxW"
            )
        check_feed(tensor.name, shape)
        shapes.append(shape)
    batches = [shape[0] for shape in shapes if shape]
    check_memory(graph, images[0] if images else None, max([1, *batches]))
    for tensor, shape in zip(graph.inputs, shapes, strict=True):
        if element_type(tensor.dtype) == onnx.TensorProto.BFLOAT16:
            raise UnsupportedGraphError(
                f"input {tensor.name}: onnxruntime takes no bfloat16 on a CPU; "
                "make the network float32 with fnac run-pass convert-float32"
            )
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            feed[tensor.name] = rng.standard_normal(shape).astype(dtype)
            if shape and shape[0] == 2:
                feed[tensor.name][1] = rng.random(shape[1:])
        elif dtype.kind == "b":
            feed[tensor.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            feed[tensor.name] = rng.integers(0, 4, shape).astype(dtype)
    return feed


def run(graph: Graph, feed: Mapping[str, np.ndarray], tensors: Sequence[str] = ()) -> Arrays:
    """Run ``graph`` once; see :meth:`.Runner.run`."""
    return Runner().run(graph, feed, tensors)


def check_runs(graph: Graph, runner: Runner | None = None) -> None:
    """Raise UnsupportedGraphError, in onnxruntime's words, if it cannot run the network.

    Not looked at: a network that can only be fed once a pass has been over it (of bfloat16, or of
    an unknown size), and operators that onnxruntime has for no CPU.
    """
    runner = runner or Runner()
    try:
        feed = random_feed(graph, probe_size(graph, runner))
    except UnsupportedGraphError:
        return
    try:
        runner.run(graph, feed)
    except PassFailedError as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise UnsupportedGraphError(str(error)) from error


def probe_size(graph: Graph, runner: Runner | None = None) -> tuple[int, int] | None:
    """Return the (H, W) to probe ``graph`` at: smaller than its own where the graph allows it.

    ``runner`` runs it there on ``random_feed``, and need not do so again.
    """
    own = graph.image_size()
    if own is None or max(own) <= PROBE_SIDE:
        return own
    padded = any(str(n.attrs.get("auto_pad")).startswith("SAME") for n in graph.nodes)
    if padded and any(side % 32 for side in own):
        return own  # resolve-auto-pad writes down what holds for this size and its like
    ratio = min(own) / max(own)
    short = max(32, round(PROBE_SIDE * ratio / 32) * 32)
    small = (short, PROBE_SIDE) if own[0] <= own[1] else (PROBE_SIDE, short)
    try:
        (runner or Runner()).run(graph, random_feed(graph, small))
    except (PassFailedError, UnsupportedGraphError):
        return own
    return small
