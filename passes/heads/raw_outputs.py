"""Raw outputs: the tensors before any selection, which another network can learn to reproduce.

An emitted segmenter ends in an arg-max, a detector in a non-maximum suppression: small changes of
the weights change their answers by leaps or not at all. What stands in front of the selection
changes smoothly, and says more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_graphsurgeon as gs

from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.operators import READS_SIZE

SELECTING = {"ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero", "Unique"}
"""Operators whose answers leap: what depends on them is no smooth function of the weights."""
MOVES = {
    "Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip
"""Operators that move numbers and leave them as they are."""

Meaning = Literal["logits", "probabilities", "binary logits", "binary probabilities", "values"]


@dataclass(frozen=True)
class RawOutput:
    """A tensor before any selection, and what its numbers mean.

    ``logits``                class scores along ``axis``; softmax makes probabilities of them
    ``probabilities``         of classes along ``axis``; None: some axis, the numbers tell which
    ``binary logits``         each number is a class score of its own; sigmoid makes a probability
    ``binary probabilities``  each number is a probability of its own
    ``values``                anything else: boxes, heatmaps, features
    """

    name: str
    meaning: Meaning
    axis: int | None = None


def raw_outputs(graph: Graph) -> tuple[RawOutput, ...]:
    """Return the raw outputs of ``graph``: its outputs, or the tensors before a selection.

    Raises UnsupportedGraphError where there is none.
    """
    of_image = _of_image(graph)
    behind = _behind_selection(graph)
    tensors: dict[int, gs.Tensor] = {}
    for node in graph.nodes:
        if id(node) in behind:
            for tensor in node.inputs:
                tensors[id(tensor)] = tensor
    for tensor in graph.outputs:
        tensors[id(tensor)] = tensor
    needed = _needed(graph)
    raw = [
        tensor
        for tensor in tensors.values()
        if id(tensor) in of_image
        and id(tensor) in needed
        and _is_float(tensor)
        and not any(id(node) in behind for node in tensor.inputs)
        and tensor.inputs
    ]
    if not raw:
        raise UnsupportedGraphError(
            "no output of the network is a smooth function of its image (all of them are chosen: "
            "arg-max, top-k, or whole numbers); another network cannot learn to repeat it"
        )
    known = {id(tensor) for tensor in raw}
    raw = [tensor for tensor in raw if not _only_moved(tensor, known)]
    order = {id(t): i for i, t in enumerate(t for n in graph.nodes for t in n.outputs)}
    raw.sort(key=lambda tensor: order[id(tensor)])
    return tuple(_with_meaning(graph, tensor, place) for place, tensor in enumerate(raw))


def with_raw_outputs(graph: Graph) -> tuple[Graph, tuple[RawOutput, ...]]:
    """Return a copy of ``graph`` that ends in its raw outputs, and what they are."""
    raw = raw_outputs(graph)
    ended = graph.copy()
    tensors = {tensor.name: tensor for node in ended.nodes for tensor in node.outputs}
    ended.put_outputs(tensors[one.name] for one in raw)
    for tensor in ended.outputs:
        tensor.dtype = tensor.dtype or np.dtype(np.float32)
    return ended.cleanup(), raw


def _of_image(graph: Graph) -> set[int]:
    known = {id(tensor) for tensor in graph.inputs}
    for node in graph.nodes:
        if node.op not in READS_SIZE and any(id(tensor) in known for tensor in node.inputs):
            known.update(id(tensor) for tensor in node.outputs)
    return known


def _behind_selection(graph: Graph) -> set[int]:
    of_image, behind = _of_image(graph), set[int]()
    for node in graph.nodes:
        selects = node.op in SELECTING and any(id(t) in of_image for t in node.inputs)
        if selects or any(id(maker) in behind for t in node.inputs for maker in t.inputs):
            behind.add(id(node))
    return behind


def _needed(graph: Graph) -> set[int]:
    needed = {id(tensor) for tensor in graph.outputs}
    for node in reversed(graph.nodes):
        if any(id(tensor) in needed for tensor in node.outputs):
            needed.update(id(tensor) for tensor in node.inputs)
    return needed


def _is_float(tensor: gs.Tensor) -> bool:
    return getattr(tensor.dtype, "kind", "f") == "f"


def _with_meaning(graph: Graph, tensor: gs.Tensor, place: int) -> RawOutput:
    name = str(tensor.name)
    source = _source(tensor)
    if source is not None and source.op == "Softmax":
        axis = int(source.attrs.get("axis", -1)) if source in tensor.inputs else None
        return RawOutput(name, "probabilities", axis)
    if source is not None and source.op == "Sigmoid":
        return RawOutput(name, "binary probabilities")
    for node in graph.consumers(tensor):
        if node.op == "ArgMax":
            return RawOutput(name, "logits", int(node.attrs.get("axis", 0)))
    return RawOutput(name, *_of_task(graph.manifest, place))


def _only_moved(tensor: gs.Tensor, known: set[int]) -> bool:
    """Say whether the numbers are those of one of the ``known`` tensors, in another shape."""
    while tensor.inputs and tensor.inputs[0].op in MOVES:
        tensor = tensor.inputs[0].inputs[0]
        if id(tensor) in known:
            return True
    return False


def _source(tensor: gs.Tensor) -> gs.Node | None:
    """Return the node that computed these numbers, if they were only moved since."""
    while tensor.inputs:
        node: gs.Node = tensor.inputs[0]
        if node.op not in MOVES:
            return node
        tensor = node.inputs[0]
    return None


def _of_task(manifest: dict[str, Any], place: int) -> tuple[Meaning, int | None]:
    """Return what the manifest says of the output at ``place``."""
    scores = (manifest.get("anchors") or {}).get("scores")
    match manifest.get("task"), place, scores:
        case ("seg" | "cls", 0, _):
            return "logits", 1
        case ("det", 0, "softmax"):
            return "logits", -1
        case ("det", 0, "sigmoid"):
            return "binary logits", None
        case _:
            return "values", None
