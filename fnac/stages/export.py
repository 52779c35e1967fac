"""Stage 1, ``export``: write a seed, given by name, as a trainable ONNX file.

BN is kept, nodes and weights are named after the layers, the batch is symbolic, and the manifest
says how images are to be prepared and where the weights come from. With a task, its head stands on
the seed's backbone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import state_input
from fnac.passes.manager import PassManager
from fnac.stages.opening.task_head import attach_head, head_kind, state_answers

from .exporting.settings import ExportSettings

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from fnac.models.heads.kinds import HeadKind
    from fnac.models.seeds.find import Seed
    from fnac.models.seeds.weight_names import Table


LICENCES = {
    "bundled": "Apache-2.0; trained on CIFAR-10",
    "none": "Apache-2.0; random start",
}


def export_seed(settings: ExportSettings) -> Graph:
    """Build the seed with its weights and return it as a trainable ONNX graph with a manifest.

    Raises UsageError when the seed, its head or its weights are not to be had.
    """
    kind = head_kind(settings.task, settings.head) if settings.task is not None else None
    source, _, name = settings.seed.partition(":")
    if name and source in ("timm", "torchvision"):
        from fnac.stages.exporting.from_libraries import export_library_seed

        graph = export_library_seed(source, name, settings)
    else:
        graph = _own_seed(settings, kind)
    if kind is not None:
        assert settings.classes is not None  # checked by the settings
        attach_head(
            graph,
            kind,
            settings.classes,
            output_stride=settings.output_stride,
            random_seed=settings.random_seed,
            manager=PassManager(verify=False),  # three passes that keep nothing: nothing to prove
        )
        graph.manifest.pop("ledger", None)  # an export is where a history begins
    graph.name_batch()
    state_answers(graph)
    return graph


def _own_seed(settings: ExportSettings, kind: HeadKind | None) -> Graph:
    """Return the classifier, or the backbone for a head of this kind."""
    from fnac.models.errors import ModelError
    from fnac.models.seeds.find import find_seed

    try:
        seed = find_seed(settings.seed, settings.width)
        state, table, class_names, entry = _weights(seed, settings.weights or seed.weights)
        proto, classes = _build(seed, table, settings, kind, state, entry["source"])
    except ModelError as error:
        raise UsageError(str(error)) from error
    graph = Graph.from_model(proto)
    keep_names = class_names is not None and len(class_names) == classes
    graph.manifest = {
        "role": "seed",
        "name": seed.name,
        "size": list(settings.size or seed.size),
        "num_classes": classes,
        "classes": class_names if keep_names else None,
        "seed": entry,
    }
    state_input(graph.manifest, mean=seed.mean, std=seed.std, assumed=False)
    return graph


def _weights(
    seed: Seed, source: str
) -> tuple[dict[str, Tensor] | None, Table, list[str] | None, dict[str, Any]]:
    """Return the state_dict (None: random), its network, class names, the manifest's entry."""
    from fnac.models.seeds.published import published_weights
    from fnac.models.seeds.weight_names import own_names
    from fnac.models.seeds.weights import read_weights

    entry: dict[str, Any] = {"source": source, "licence": LICENCES.get(source, "unknown")}
    if source == "none":
        return None, seed.table, None, entry
    if source == "bundled":
        state, class_names = _bundled_weights(entry)
        return state, seed.table, class_names, entry
    if source == "imagenet":
        state, entry["licence"] = published_weights(seed.name)
    else:
        path = Path(source)
        state = read_weights(path)
        entry["source"] = path.name
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    state, table = own_names(state, seed.table)
    return state, table, None, entry


def _bundled_weights(entry: dict[str, Any]) -> tuple[dict[str, Tensor], list[str] | None]:
    import torch
    from onnx import numpy_helper

    from fnac.models import bundled

    graph = Graph.load(bundled.path())
    model = graph.to_model()
    state = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    state = {name: v for name, v in state.items() if not name.endswith((".min", ".max", ".ratio"))}
    entry |= graph.manifest.get("seed", {})
    entry["sha256"] = hashlib.sha256(bundled.path().read_bytes()).hexdigest()
    return state, graph.manifest.get("classes")


def _build(
    seed: Seed,
    table: Table,
    settings: ExportSettings,
    kind: HeadKind | None,
    state: dict[str, Tensor] | None,
    where: str,
) -> tuple[onnx.ModelProto, int]:
    """Return the network in ONNX and its number of classes (0: a backbone without classifier)."""
    import torch

    from fnac.models.seeds.weights import classes_in, load_weights
    from fnac.models.to_onnx import to_onnx

    classes = 0
    if kind is None:
        classes = settings.classes or (classes_in(state) if state else None) or 1000
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.random_seed)
        model = table.network(classes, keep_last=kind is not None and "last" in kind.taps)
    if state is not None:
        load_weights(model, state, where)
    height, width = settings.size or seed.size
    inputs: dict[str, list[int | str]] = {"input": ["batch", 3, height, width]}
    shape: list[int | str] = [classes] if classes else [int(model.channels), "h", "w"]
    name = "logits" if classes else "features"
    return to_onnx(model.eval(), inputs, {name: ["batch", *shape]}), classes
