"""Give a backbone a task's head: cut the classifier, dilate, attach; used by export and expand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.models.errors import ModelError
from fnac.models.heads.kinds import HEADS, HeadKind, find_head
from fnac.names import known_name
from fnac.passes.blocks.tensor_strides import tensor_strides, why_not_square
from fnac.passes.graph import Graph
from fnac.passes.graph.contract import (
    PERSON_WINDOW,
    RAW,
    Contract,
    state_input,
    state_outputs,
    usual_resize,
)
from fnac.passes.heads.attach_head import AttachHead
from fnac.passes.heads.cut_classifier import CutClassifier
from fnac.passes.heads.replace_classes import ReplaceClasses
from fnac.passes.heads.set_output_stride import SetOutputStride
from fnac.passes.manager import PassManager

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

logger = logging.getLogger(__name__)

OWN_HEAD = "own"
"""The head that a found network was trained with; only its last layer is for other classes."""
OWN_OUTPUTS = {"seg": "logits", "cls": "logits", "pose": "heatmaps"}
"""Task -> what a network's own head leaves; detectors spell their outputs in too many ways."""
OWN_RANK = {"seg": 4, "cls": 2, "pose": 4}
"""Task -> how many dimensions that output has."""
OUTPUT_STRIDES = (8, 16, 32)
DENSE_STRIDE = 16
"""Output stride of the backbone under a dense head unless the user says otherwise."""


def check_head(
    task: str | None, head: str | None, classes: int | None, output_stride: int | None
) -> None:
    """Refuse contradictions between the options --task, --head, --classes, --output-stride."""
    if classes is not None and classes < 1:
        raise UsageError(f"--classes {classes}: wanted at least 1")
    if output_stride is not None and output_stride not in OUTPUT_STRIDES:
        raise UsageError(f"--output-stride {output_stride}: wanted 8, 16 or 32")
    if task is None:
        if head is not None:
            raise UsageError(f"--head {head}: a head needs its --task")
        return
    if head == OWN_HEAD:
        if task not in OWN_OUTPUTS:
            raise UsageError(
                f"--head own: known for {', '.join(OWN_OUTPUTS)}; for --task {task} a head is "
                "attached (leave --head out), or the network is kept as it is (leave --task out)"
            )
        return
    kind = head_kind(task, head)
    if output_stride is not None and not kind.dense:
        raise UsageError(
            f"--output-stride {output_stride}: {kind.name} reads the backbone as it is; "
            "only heads for seg dilate it"
        )


def head_kind(task: str, head: str | None) -> HeadKind:
    """Return the head called ``head``, or the task's own; raises UsageError."""
    if head is not None and head not in HEADS:
        known_name(
            "--head", head, [OWN_HEAD, *(h for h, kind in HEADS.items() if kind.task == task)]
        )
    try:
        return find_head(head, task)
    except ModelError as error:
        where = f"--head {head}" if head is not None else f"--task {task}"
        raise UsageError(f"{where}: {error}") from error


def attach_head(
    graph: Graph,
    kind: HeadKind,
    classes: int,
    *,
    output_stride: int | None,
    random_seed: int,
    manager: PassManager,
) -> None:
    """Attach a freshly initialized head for ``classes`` classes to ``graph``, in place.

    The manifest says ``task``, ``head``, ``num_classes``, ``taps`` (name, stride and channels),
    ``output_stride`` for a dense head and ``anchors`` for a detector. Its ``size`` must be known.

    Raises UnsupportedGraphError when the backbone lacks what the head reads.
    """
    manager.run([CutClassifier(taps=kind.taps)], graph)
    uneven = why_not_square(graph, graph.outputs) if kind.task != "cls" else None
    if uneven is not None:
        raise UnsupportedGraphError(
            f"{uneven}; the head {kind.name} reads square cells; take --task cls, or a backbone "
            "that makes both sides smaller alike"
        )
    taps = _taps(graph, kind)
    for tap, needed in zip(taps, kind.strides, strict=True):
        if needed and tap["stride"] != needed:
            raise UnsupportedGraphError(
                f"{tap['name']}: its stride is {tap['stride']}; the head {kind.name} reads "
                f"features of stride {needed}; take another head, or another backbone"
            )
    stride = output_stride or DENSE_STRIDE
    if kind.dense:
        stride = _dilate(graph, stride, manager, asked_for=output_stride is not None)
        taps = _taps(graph, kind)
    channels = {str(tap["name"]): int(tap["channels"]) for tap in taps}
    model = _head(kind, channels, classes, stride, random_seed)
    manager.run([AttachHead(model=model)], graph)
    _describe(graph, kind, classes, taps, stride)


def _dilate(graph: Graph, stride: int, manager: PassManager, *, asked_for: bool) -> int:
    """Set the output stride; a default one is doubled if the graph does not allow it.

    Returns the stride that was set.
    """
    try:
        manager.run([SetOutputStride(stride=stride)], graph)
    except UnsupportedGraphError as error:
        if asked_for or stride >= OUTPUT_STRIDES[-1]:
            raise
        logger.warning("output stride %d instead of %d: %s", stride * 2, stride, error)
        return _dilate(graph, stride * 2, manager, asked_for=False)
    return stride


def keep_own_head(
    graph: Graph, task: str, classes: int, *, random_seed: int, manager: PassManager
) -> None:
    """Give the head that ``graph`` has ``classes`` classes, in place.

    The manifest says ``task``, ``head`` (own) and ``num_classes``. Raises UnsupportedGraphError
    when no layer that could be replaced ends the network, or it leaves no maps (no rows for cls).
    """
    output = OWN_OUTPUTS[task]
    manager.run([ReplaceClasses(classes=classes, output=output, random_seed=random_seed)], graph)
    shape = graph.outputs[0].shape
    rank = OWN_RANK[task]
    if shape is not None and len(shape) != rank:
        raise UnsupportedGraphError(
            f"--head own: output {graph.outputs[0].name} {list(shape)} was found; "
            f"wanted {rank} dimensions for --task {task}"
        )
    graph.manifest |= {"task": task, "head": OWN_HEAD, "num_classes": classes, "classes": None}


def state_answers(graph: Graph) -> None:
    """Record the resize mode for this task, and the meaning of the outputs."""
    manifest = graph.manifest
    task = manifest.get("task")
    if task is not None:
        resize = Contract.read(manifest).input.resize or usual_resize(task, manifest.get("head"))
        state_input(manifest, resize=resize, window=PERSON_WINDOW if task == "pose" else None)
    if not manifest.get("outputs"):
        state_outputs(manifest, [tensor.name for tensor in graph.outputs], RAW.get(task or "", ()))


def _taps(graph: Graph, kind: HeadKind) -> list[dict[str, Any]]:
    """Describe the outputs of a backbone, which are the head's taps."""
    strides = tensor_strides(graph)
    return [
        {"name": name, "stride": int(strides[id(tensor)]), "channels": _channels(tensor, kind)}
        for name, tensor in zip(kind.taps, graph.outputs, strict=True)
    ]


def _head(
    kind: HeadKind, channels: dict[str, int], classes: int, stride: int, random_seed: int
) -> onnx.ModelProto:
    from fnac.models.heads.export import export_head

    try:
        return export_head(kind.name, channels, classes, stride, random_seed)
    except ModelError as error:
        raise UsageError(f"--head {kind.name}: {error}") from error


def _describe(
    graph: Graph, kind: HeadKind, classes: int, taps: list[dict[str, Any]], stride: int
) -> None:
    from fnac.models.heads.anchors import anchors_of

    manifest = graph.manifest
    manifest |= {"task": kind.task, "head": kind.name, "num_classes": classes, "classes": None}
    manifest["taps"] = taps
    manifest["stride"] = max(int(tap["stride"]) for tap in taps)
    if kind.dense:
        manifest["output_stride"] = stride
    height, width = manifest["size"]
    anchors = anchors_of(kind.name, (int(height), int(width)))
    if anchors is not None:
        manifest["anchors"] = anchors


def _channels(tensor: gs.Tensor, kind: HeadKind) -> int:
    shape = tensor.shape
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        raise UnsupportedGraphError(
            f"{tensor.name}: its shape {shape} was found; wanted a known number of "
            f"channels under the head {kind.name}"
        )
    return int(shape[1])
