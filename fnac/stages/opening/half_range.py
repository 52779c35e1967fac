"""Refuse a network whose features do not fit into float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from fnac.errors import UnsupportedGraphError
from fnac.passes.emit.convert_float16 import LARGEST
from fnac.passes.graph import Graph
from fnac.passes.running.run import probe_size, random_feed
from fnac.passes.running.runner import Runner


def check_half_range(graph: Graph, runner: Runner, where: Path) -> None:
    """Raise UnsupportedGraphError if a feature is larger than float16 holds, on images of noise.

    On a CPU onnxruntime computes in float32 between the casts, and nothing shows; a GPU answers
    with infinities.
    """
    feed = random_feed(graph, probe_size(graph, runner))
    inner = [
        tensor.name
        for node in graph.nodes
        for tensor in node.outputs
        if isinstance(tensor, gs.Variable) and not tensor.is_empty() and not graph.is_output(tensor)
    ]
    values = runner.run(graph, feed, inner)
    for node in graph.nodes:
        for tensor in node.outputs:
            numbers = values.get(tensor.name)
            if numbers is None or numbers.dtype != np.float32 or not numbers.size:
                continue
            largest = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0))
            if largest > LARGEST:
                raise UnsupportedGraphError(
                    f"{where}: fp16: {node.name} ({node.op}) computes {largest:.3g} on images of "
                    f"noise, and float16 ends at {LARGEST:g}; emit it without --fp16"
                )
