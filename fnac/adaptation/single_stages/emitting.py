"""A network is emitted, and compared with itself in another precision."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.adaptation.calibrating import emit_images
from fnac.adaptation.history import tell_next, tell_untuned
from fnac.adaptation.plan import Subject
from fnac.adaptation.settings import EvalSettings, task_of
from fnac.adaptation.single_stages.measuring import in_classes_of
from fnac.config import Config, read
from fnac.data.readers.names import PICTURES
from fnac.errors import UsageError
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from fnac.stages.emit import EmitSettings

log = logging.getLogger(__name__)


COMPARED = 200
"""Images that the metrics of two precisions are compared on, at most."""


def run_emit(model: Path, config: Config, *, out: Path) -> dict[str, Any]:
    """Emit ``model`` to ``out``; its profile goes beside it."""
    from fnac.stages.emit import EmitSettings, emit

    settings, graph = read(EmitSettings, config), Graph.load(model)
    on = Subject.read(config, task_of(graph.manifest))
    images = emit_images(graph, settings, on) if on.adapt.data else None
    tell_untuned(model, graph.manifest)
    emitted = emit(model, out, settings, images=images, loaded=graph)
    tell_next("eval", out, "--data", on.adapt.data or "SPEC")
    told = {
        "output": str(emitted.path),
        "nodes": len(emitted.profile.nodes),
        "madds": emitted.profile.madds,
        "params": emitted.profile.params,
        "size_bytes": out.stat().st_size,
    }
    if settings.fp16 or settings.int8:
        told["precisions"] = _precisions(model, out, settings, on)
    return told


def _precisions(
    model: Path, out: Path, settings: EmitSettings, on: Subject
) -> dict[str, dict[str, Any]]:
    """Return size, latency and metric of ``out``, and of the same network in float32.

    The metric is on the first images of the split val, where ``--data`` has labels, such a split,
    and the classes of the network.
    """
    from fnac.stages.emit import emit

    is_measured = _has_labels_for(Graph.load(out).manifest, on)
    plain = dataclasses.replace(settings, fp16=False, int8=False, no_verify=True)
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "float32.onnx"
        emit(model, before, plain, kit=False)
        sides = {"float32": before, "int8" if settings.int8 else "float16": out}
        return {name: size_speed_metric(path, on, is_measured) for name, path in sides.items()}


def _has_labels_for(manifest: Mapping[str, Any], on: Subject) -> bool:
    """Say whether a data set can measure a network; warn if only its classes are others."""

    spec = on.adapt.data or ""
    if not spec or spec.startswith(PICTURES) or "val" not in on.source.splits:
        return False
    try:
        in_classes_of("the network", manifest, on.source, on.adapt.task, EvalSettings())
        on.task_for(manifest).check_network(manifest)
    except UsageError:
        log.warning(
            "the metric is not compared: the classes of %s are not the network's", on.source.name
        )
        return False
    return True


def compared_speed(
    model: Path, baseline: Path, settings: EmitSettings, on: Subject
) -> dict[str, Any]:
    """Return the latency of an emitted model, and latency and size of a baseline like it.

    baseline  trainable; it is emitted with ``settings`` for it. Both run in turn.
    """
    from fnac.stages.deployment.kit import contract_of, has_contract, latencies_ms
    from fnac.stages.emit import emit

    graph, plain = Graph.load(baseline), dataclasses.replace(settings, no_verify=True)
    images = emit_images(graph, settings, on)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emitted.onnx"
        emit(baseline, path, plain, images=images, kit=False, loaded=graph)
        size = {"baseline_size_bytes": path.stat().st_size}
        graphs = [(one, Graph.load(one)) for one in (model, path)]
        if not all(has_contract(graph) for _, graph in graphs):
            return size
        took = latencies_ms([(one, contract_of(graph, one, one.name)) for one, graph in graphs])
    names = ("latency_ms", "baseline_latency_ms")
    return {**size, **{n: ms and round(ms, 3) for n, ms in zip(names, took, strict=True)}}


def size_speed_metric(path: Path, on: Subject, is_measured: bool) -> dict[str, Any]:
    """Return the bytes of a file, its latency here in ms and, ``is_measured``, its metric."""
    from fnac.stages.deployment.kit import contract_of, has_contract, latency_ms

    graph = Graph.load(path)
    told: dict[str, Any] = {"size_bytes": path.stat().st_size}
    if not has_contract(graph):
        return told
    took = latency_ms(path, contract_of(graph, path, path.name))
    told["latency_ms"] = None if took is None else round(took, 3)
    if is_measured:
        from fnac.stages.evaluate import Feeding, evaluate_onnx

        measured = evaluate_onnx(
            path,
            on.source,
            on.task_for(graph.manifest),
            feeding=Feeding(limit=COMPARED, shown=False),
        )
        told |= {"metric": measured.metric, "value": measured.value, "images": measured.images}
    return told
