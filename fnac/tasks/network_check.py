"""Check that a network was made for the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_graphsurgeon as gs

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.graph import Graph

HANDS_ON = (
    *("Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Dropout"),
    *("Resize", "Upsample", "Clip", "Slice", "Pad", "Mul", "Div", "Add", "Sub"),
)
"""Operators behind which probabilities are still some, or numbers that a constant changed."""
PROBABILITIES = ("Softmax", "Sigmoid", "HardSigmoid")


def check_count(
    manifest: Mapping[str, Any], task: str, names: Sequence[str], kind: str = "classes"
) -> None:
    """Raise UsageError if a network for ``task`` has another number of classes than ``names``.

    kind: what they are, in the plural. A network without a head, or of another task, passes.
    """
    count = manifest.get("num_classes") if manifest.get("task") == task else None
    if count is not None and int(count) != len(names):
        more = ", ..." if len(names) > 4 else ""
        raise UsageError(
            f"the network has {count} {kind}; the data set has {len(names)} "
            f"({', '.join(names[:4])}{more}); take the data set that it was made for, or give the "
            "seed a head for this one (fnac adapt)"
        )


def check_pictures(graph: Graph) -> None:
    """Raise UnsupportedGraphError unless the network takes one batch of colour images as floats.

    Symbolic sizes and unknown types pass.
    """
    inputs = ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in graph.inputs)
    fits = len(graph.inputs) == 1
    for tensor in graph.inputs:
        fits &= getattr(tensor.dtype, "kind", "f") not in "iub"
        if tensor.shape is not None:
            colours = tensor.shape[1] if len(tensor.shape) == 4 else 0
            fits &= not isinstance(colours, int) or colours == 3
    if not fits:
        raise UnsupportedGraphError(
            f"inputs {inputs}: wanted one input of colour images as floats (N, 3, H, W)"
        )


def check_logits(graph: Graph, task: str) -> None:
    """Raise UnsupportedGraphError if a network already outputs probabilities instead of logits.

    The cross entropy takes logits. Behind a Softmax or Sigmoid it is one of probabilities, which
    never comes near zero and trains badly.
    """
    if task not in ("cls", "seg"):
        return
    for output in graph.outputs:
        maker = graph.producer(output)
        while maker is not None and maker.op in HANDS_ON:
            read = [tensor for tensor in maker.inputs if isinstance(tensor, gs.Variable)]
            both = maker.op in ("Mul", "Div", "Add", "Sub") and len(read) != 1
            maker = None if both or not read else graph.producer(read[0])
        if maker is not None and maker.op in PROBABILITIES:
            raise UnsupportedGraphError(
                f"{maker.name} ({maker.op}): the output {output.name} holds probabilities, and the "
                "loss has a softmax of its own; export the network without it, or expand with "
                f"--task {task}, which attaches a head of logits"
            )
