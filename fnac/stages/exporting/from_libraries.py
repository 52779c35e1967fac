"""``export timm:NAME`` and ``torchvision:NAME``: a library's network, exported and checked."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnac.errors import UsageError
from fnac.passes.base import Report
from fnac.passes.errors import OutputsDifferError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import state_input
from fnac.passes.manager import PassManager
from fnac.passes.normalize.drop_zero_bias import DropZeroBias
from fnac.passes.registry import parse_pipeline
from fnac.passes.running.run import run

if TYPE_CHECKING:
    from fnac.models.seeds.from_libraries import LibraryNetwork
    from fnac.stages.exporting.settings import ExportSettings

ROUNDING = 1e-5
"""Of the largest output: what another order of sums may cost at least, in float32."""


def export_library_seed(source: str, name: str, settings: ExportSettings) -> Graph:
    """Return the network as a trainable graph with a manifest.

    Its outputs in onnxruntime were compared with torch's. Raises UsageError when it is not to be
    had, OutputsDifferError when it does not compute the same.
    """
    from fnac.models.errors import ModelError
    from fnac.models.seeds.from_libraries import export_library_network, library_network

    if settings.width is not None:
        raise UsageError(f"--width {settings.width:g}: {settings.seed} has the width of its name")
    weights = settings.weights or "imagenet"
    classes = settings.classes if settings.task is None else None
    try:
        network = library_network(source, name, weights, classes, settings.random_seed)
        size = settings.size or network.size
        proto = export_library_network(network, size)
    except ModelError as error:
        raise UsageError(str(error)) from error
    graph = Graph.from_model(proto)
    _normalize(graph, set(network.module.state_dict()))
    check_against_torch(graph, network, size)
    known = graph.outputs[0].shape
    graph.manifest = {
        "role": "seed",
        "name": settings.seed,
        "size": list(size),
        "num_classes": int(known[1]) if known and isinstance(known[1], int) else None,
        "classes": None,
        "seed": _entry(weights, network),
    }
    mean, std = ((float(a), float(b), float(c)) for a, b, c in (network.mean, network.std))
    state_input(graph.manifest, mean=mean, std=std, assumed=False)
    return graph


def check_against_torch(graph: Graph, network: LibraryNetwork, size: tuple[int, int]) -> None:
    """Raise OutputsDifferError unless onnxruntime computes on three random images what torch does.

    What float32 itself costs this network (against float64) is allowed ten times.
    """
    import torch

    images = np.random.default_rng(0).standard_normal((3, 3, *size), np.float32)
    with torch.no_grad():
        single = network.module(torch.from_numpy(images)).double().numpy()
        exact = copy.deepcopy(network.module).double()
        exact_answer = exact(torch.from_numpy(images).double()).numpy()
    answer = run(graph, {graph.inputs[0].name: images})[graph.outputs[0].name]
    noise = float(np.abs(single - exact_answer).max())
    allowed = 10 * noise + ROUNDING * float(np.abs(exact_answer).max())
    difference = float(np.abs(answer - exact_answer).max())
    if not difference <= allowed:
        raise OutputsDifferError(
            f"{network.name}: the exported network differs from torch's by {difference:.3g}; "
            f"{allowed:.3g} was allowed; this network cannot be exported faithfully"
        )


def _normalize(graph: Graph, weights: set[str]) -> None:
    """Bring the graph into canonical form; remove only zero biases that the exporter added."""
    passes = [p for p in parse_pipeline("normalize") if not isinstance(p, DropZeroBias)]
    PassManager(verify=False).run(passes, graph)
    for node in graph.nodes:
        if len(node.inputs) > 2 and node.inputs[2].name not in weights:
            DropZeroBias().visit(node, graph, Report())
    graph.cleanup()


def _entry(weights: str, network: LibraryNetwork) -> dict[str, Any]:
    if weights in ("imagenet", "none"):
        licence = network.licence if weights == "imagenet" else "random start"
        return {"source": weights, "licence": licence}
    path = Path(weights)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"source": path.name, "licence": "unknown", "sha256": digest}
