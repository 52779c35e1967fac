"""Latency of every candidate of a super network, measured in onnxruntime, as a table.

Each candidate is cut out and timed alone at the shapes it has in the network; what is left of the
whole seed's latency is the fixed part. The sum over a network's layers is an estimate: timed apart,
candidates share no cache. The table is a file, so it can be measured on one machine (the one that
will run the network) and used on another.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from fnac.config import write_json
from fnac.errors import UsageError
from fnac.passes.emit.fold_batchnorm import FoldBatchNorm
from fnac.passes.graph import Graph, Shape
from fnac.passes.graph.surgery import become_input
from fnac.passes.stored_layers import read_layers, seed_arch
from fnac.passes.super_network.choice_points import ChoicePoint, find_choice_points
from fnac.passes.super_network.choose import choose

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LatencySettings:
    """How to measure: timed ``runs`` of each candidate, ``threads`` of onnxruntime."""

    runs: int = 20
    threads: int | None = None


def latency_table(of: str, given: Path | None, network: Path, keep: Path) -> dict[str, Any] | None:
    """Return the latency table for a budget ``of`` latency; None for other budgets.

    It is read from the file ``given``, else from ``keep``, else measured on the super network in
    the file ``network`` and kept there.
    """
    if of != "latency":
        return None
    if given is not None:
        return read_latency(given)
    if not keep.exists():
        write_json(keep, measure_latency(Graph.load(network)))
    return read_latency(keep)


def measure_latency(graph: Graph, settings: LatencySettings | None = None) -> dict[str, Any]:
    """Time every candidate of the super network ``graph`` for one image of its own size.

    returns  {"fixed_ms", "layers": {layer: {candidate: ms}}, "machine", ...}, medians in ms

    Raises UsageError if ``graph`` is no super network.
    """
    how = settings or LatencySettings()
    layers = read_layers(graph.manifest)
    if not layers:
        raise UsageError("a latency table is measured on a super network; run fnac expand first")
    size = graph.image_size()
    shapes = graph.infer(size, batch=1).shapes
    table: dict[str, dict[str, float]] = {}
    for layer, point in zip(layers, find_choice_points(graph), strict=True):
        table[layer.name] = {
            name: time_graph(_alone(graph, point, index, shapes), how)
            if point.regions[index]
            else 0.0
            for index, name in enumerate(layer.names)
        }
        log.info("latency of %s measured", layer.name)
    seed = graph.copy()
    arch = seed_arch(layers)
    choose(seed, arch)
    FoldBatchNorm().run(seed)
    for tensor in seed.inputs:
        tensor.shape = list(shapes[tensor.name])
    whole = time_graph(seed, how)
    chosen = sum(table[layer.name][choice] for layer, choice in zip(layers, arch, strict=True))
    return {
        "fixed_ms": max(0.0, whole - chosen),
        "seed_ms": whole,
        "layers": table,
        "size": list(size) if size else None,
        "threads": how.threads,
        "machine": platform.processor() or platform.machine(),
    }


def read_latency(path: Path) -> dict[str, Any]:
    """Read a table that :func:`measure_latency` made; raises UsageError."""
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--latency-table {path}: cannot be read ({error})") from error
    if not isinstance(table, Mapping) or not {"fixed_ms", "layers"} <= table.keys():
        raise UsageError(
            f"--latency-table {path}: not a latency table; wanted fixed_ms and layers; "
            "fnac bench SUPER.onnx --latency-table FILE writes one"
        )
    return dict(table)


def _alone(graph: Graph, point: ChoicePoint, index: int, shapes: dict[str, Shape]) -> Graph:
    """Return candidate ``index`` of a choice point as a network of its own, BN folded."""
    whole = graph.copy()
    twin = {node.name: node for node in whole.nodes}
    nodes = [twin[node.name] for node in point.regions[index]]
    tensors = {t.name: t for node in nodes for t in [*node.inputs, *node.outputs]}
    entry, out = tensors[point.entry.name], tensors[point.outputs[index].name]
    for tensor in (entry, out):
        tensor.dtype = np.dtype(np.float32)
    entry.shape, out.shape = list(shapes[entry.name]), list(shapes[out.name])
    become_input(entry)
    cut = Graph(gs.Graph(nodes=nodes, inputs=[entry], outputs=[out], opset=graph.opset))
    FoldBatchNorm().run(cut)
    return cut


def time_graph(graph: Graph, how: LatencySettings) -> float:
    """Return the median latency of ``graph`` in ms, onnxruntime's optimisations on."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = how.threads or 0
    session = ort.InferenceSession(
        graph.to_model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    feed = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in graph.inputs}
    times = []
    for number in range(3 + how.runs):
        start = time.perf_counter()
        session.run(None, feed)
        if number >= 3:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
