"""Limits on a network that is run as a probe: memory, and time in loops.

A damaged or malicious file can name a tensor of 2**60 elements or loop for ever; both are refused
with a sentence instead of taking the machine down.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx

from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.inference import ONNX_ERRORS
from ..graph.operators import LOOPS

if TYPE_CHECKING:
    import onnxruntime

LARGEST_FEED = 1 << 25  # elements of one input: an image of 3x3344x3344
LARGEST_SUM = 1 << 28  # elements of all tensors that are alive at once: a gigabyte of floats
LOOP_BYTES = 1 << 30  # that a network with a Loop may hold
LOOP_SECONDS = 5.0  # a network with a Loop may run so long; an NMS loop takes milliseconds


def check_feed(name: str, shape: Sequence[int]) -> None:
    """Raise UnsupportedGraphError if an input of ``shape`` is too large to be probed."""
    if math.prod(shape) > LARGEST_FEED:
        raise UnsupportedGraphError(
            f"input {name}: its shape {list(shape)} has more than {LARGEST_FEED} elements; "
            "give a smaller size with --size HxW, or export the network for one"
        )


def check_memory(graph: Graph, size: Sequence[int] | None, batch: int) -> None:
    """Raise UnsupportedGraphError, naming the node, if running at ``size`` takes too much.

    Counted are the tensors that are alive at once. What a graph inside of a node says about its
    shapes is not believed; tensors whose shape is not known in numbers are not counted.
    """
    elements = _elements(graph.skeleton(size, batch))
    last = {t.name: i for i, node in enumerate(graph.nodes) for t in node.inputs}
    alive: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        alive.update((t.name, elements.get(t.name, 0)) for t in node.outputs)
        if sum(alive.values()) > LARGEST_SUM:
            raise UnsupportedGraphError(
                f"{node.name} ({node.op}): running it takes more than {LARGEST_SUM} numbers at "
                "once; give a smaller size with --size HxW, or export the network for one"
            )
        alive = {name: n for name, n in alive.items() if n and last.get(name, i + 1) > i}


def _elements(model: onnx.ModelProto) -> dict[str, int]:
    for node in model.graph.node:
        for attribute in node.attribute:
            for output in attribute.g.output:
                output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except ONNX_ERRORS:
        return {}  # onnxruntime infers for itself and has the last word
    return {
        value.name: math.prod(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim)
        for value in [*inferred.value_info, *inferred.output]
    }


def limit_loops(model: onnx.ModelProto, options: onnxruntime.SessionOptions) -> None:
    """Limit a network with a Loop to one gigabyte; onnxruntime then stops it.

    What a loop makes grows as it runs: no shape says beforehand how large it becomes.
    """
    if holds_loop(model.graph):
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")


@functools.cache
def _register_arena() -> None:
    import onnxruntime as ort

    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    as_requested = 1  # the arena does not grow by doubling
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(LOOP_BYTES, as_requested, -1, -1))


@contextmanager
def loops_end(model: onnx.ModelProto) -> Iterator[onnxruntime.RunOptions | None]:
    """Provide run options that stop a network with a Loop after a while.

    onnxruntime raises its own error when it is stopped.
    """
    if not holds_loop(model.graph):
        yield None
        return
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    timer = threading.Timer(LOOP_SECONDS, _stop, [options])
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def _stop(options: onnxruntime.RunOptions) -> None:
    options.terminate = True


def holds_loop(graph: onnx.GraphProto) -> bool:
    """Say whether a network may run for ever."""
    for node in graph.node:
        if node.op_type in LOOPS:
            return True
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH and holds_loop(attribute.g):
                return True
    return False
