"""Stage 1, ``export``: a seed's name becomes a trainable ONNX file.

BN is kept, nodes and weights are named after the layers, the batch is symbolic, and the manifest
says how images are to be prepared and where the weights come from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.errors import UsageError
from fnac.passes.graph import Graph

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fnac.models.seeds import Seed

logger = logging.getLogger(__name__)

DEFAULT_HEADS = {"seg": "deeplabv3"}
"""Head taken for a task when none is named."""

LICENCES = {
    "imagenet": "BSD-3-Clause (torchvision); trained on ImageNet-1k",
    "bundled": "Apache-2.0; trained on CIFAR-10",
    "none": "Apache-2.0; random start",
}


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What to export. Fields are the options of ``fnac export``.

    ``seed``           ``mobilenetv2``, ``mobilenetv2_w0.35``, ``bundled``
    ``weights``        ``imagenet``, ``none``, a file; None: what the seed comes with
    ``size``           input height and width in pixels; None: the seed's own
    ``width``          multiplier of all channels
    ``task``, ``head`` attach a freshly initialized head for this task; None: the seed's classifier
    ``classes``        outputs of head or classifier; None: what the weights have, else 1000
    ``output_stride``  of the backbone under a dense head: 8, 16 or 32
    ``random_seed``    of everything that starts random
    """

    seed: str = "mobilenetv2"
    weights: str | None = None
    size: tuple[int, int] | None = None
    width: float | None = None
    task: str | None = None
    head: str | None = None
    classes: int | None = None
    output_stride: int = 16
    random_seed: int = 0

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 1:
            raise UsageError(f"--classes {self.classes}: wanted at least 1")
        if self.size is not None and min(self.size) < 32:
            raise UsageError(f"--size {self.size[0]}x{self.size[1]}: wanted at least 32x32")
        if self.task is None and self.head is not None:
            raise UsageError(f"--head {self.head}: a head needs its --task")
        if self.task is not None and self.task not in DEFAULT_HEADS:
            known = ", ".join(DEFAULT_HEADS)
            raise UsageError(f"--task {self.task}: export can attach a head for: {known}")
        if self.task is not None and self.classes is None:
            raise UsageError(f"--task {self.task}: the head needs --classes N")


def export_seed(settings: ExportSettings) -> Graph:
    """Build the seed with its weights and return it as a trainable ONNX graph with a manifest.

    Raises UsageError when the seed, its head or its weights are not to be had.
    """
    import torch

    from fnac.models.errors import ModelError
    from fnac.models.seeds import find_seed
    from fnac.models.to_onnx import to_onnx

    try:
        seed = find_seed(settings.seed, settings.width)
        state, classes_stored, weights = _weights(seed, settings.weights or seed.weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_seed)
            model, outputs = _build(seed, settings, state, weights["source"])
        height, width = settings.size or seed.size
        proto = to_onnx(
            model.eval(), {"input": ["batch", 3, height, width]}, {"logits": ["batch", *outputs]}
        )
    except ModelError as error:
        raise UsageError(str(error)) from error
    graph = Graph.from_model(proto)
    for node in graph.nodes:
        if node.name.startswith("head."):
            node.metadata["fnac.part"] = "head"
    keep_names = settings.task is None and classes_stored and len(classes_stored) == outputs[0]
    graph.manifest = {
        "role": "seed",
        "name": seed.name,
        "size": [height, width],
        "preprocessing": {"mean": list(seed.mean), "std": list(seed.std), "color": "RGB"},
        "num_classes": outputs[0],
        "classes": classes_stored if keep_names else None,
        "seed": weights,
    }
    if settings.task is not None:
        graph.manifest |= {
            "task": settings.task,
            "head": settings.head or DEFAULT_HEADS[settings.task],
            "output_stride": settings.output_stride,
        }
    return graph


def _weights(
    seed: Seed, source: str
) -> tuple[dict[str, Tensor] | None, list[str] | None, dict[str, Any]]:
    """Return the state_dict (None: random), the class names if known, the manifest's entry."""
    from fnac.models.weights import published_weights, read_weights, torchvision_names

    entry: dict[str, Any] = {"source": source, "licence": LICENCES.get(source, "unknown")}
    if source == "none":
        return None, None, entry
    if source == "imagenet":
        return published_weights(seed.table), None, entry
    if source == "bundled":
        return _bundled_weights(entry)
    path = Path(source)
    state = torchvision_names(read_weights(path), seed.table)
    entry["source"] = path.name
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return state, None, entry


def _bundled_weights(
    entry: dict[str, Any],
) -> tuple[dict[str, Tensor], list[str] | None, dict[str, Any]]:
    import torch
    from onnx import numpy_helper

    from fnac.models import bundled

    graph = Graph.load(bundled.path())
    model = graph.to_model()
    state = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    state = {name: v for name, v in state.items() if not name.endswith((".min", ".max", ".ratio"))}
    entry |= graph.manifest.get("seed", {})
    entry["sha256"] = hashlib.sha256(bundled.path().read_bytes()).hexdigest()
    return state, graph.manifest.get("classes"), entry


def _build(
    seed: Seed, settings: ExportSettings, state: dict[str, Tensor] | None, where: str
) -> tuple[nn.Module, list[int | str]]:
    """Return the module with its weights and the output's dimensions behind the batch."""
    from fnac.models.mbconv import MBConvNet, backbone
    from fnac.models.segmenter import Segmenter
    from fnac.models.weights import classes_in, load_weights

    model: nn.Module
    if settings.task is None:
        classes = settings.classes or (classes_in(state) if state else None) or 1000
        model = MBConvNet(seed.table, classes)
        if state is not None:
            load_weights(model, state, where)
        return model, [classes]
    assert settings.classes is not None  # checked by the settings
    head = settings.head or DEFAULT_HEADS[settings.task]
    model = Segmenter(seed.table, head, settings.classes, settings.output_stride)
    if state is not None:
        trunk = backbone(seed.table, settings.output_stride)
        load_weights(trunk, state, where)
        model.features = trunk.features
    height, width = settings.size or seed.size
    return model, [settings.classes, height, width]
