"""Let a network with integer images take them as floats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.surgery import bypass, read_through
from ..graph.tensor_checks import FLOATS, element_type


@dataclasses.dataclass(frozen=True)
class TakeFloats(Pass):
    """Remove the Cast after an integer input; images have the same values as floats.

    Matches  an input of rank 4 and an integer type that only Casts to one floating-point type
             read (exports that prepare pixels themselves).
    Changes  the input gets that type; its Casts are removed.
    Keeps    the results for the same image; the interface changes on purpose.
    """

    name: ClassVar[str] = "take-floats"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        for image in integer_pictures(graph):
            report.note(image.name, _open(image, graph))
        if report.rewrote:
            graph.cleanup()
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield the result with Casts on its inputs, against the network before."""
        twin = after.copy()
        for index, (old, new) in enumerate(zip(before.inputs, after.inputs, strict=True)):
            if old.dtype != new.dtype:
                read_through(twin, index, old, "Cast", {"to": element_type(new.dtype)})
        yield "the result for the same integers", before, twin


def integer_pictures(graph: Graph) -> list[gs.Variable]:
    """Return the inputs of rank 4 that hold integers."""
    return [
        tensor
        for tensor in graph.inputs
        if tensor.shape is not None
        and len(tensor.shape) == 4
        and not isinstance(tensor.dtype, int)
        and np.dtype(tensor.dtype).kind in "iu"
    ]


def _open(image: gs.Variable, graph: Graph) -> Rewrote | Left:
    readers = graph.consumers(image)
    targets = {int(node.attrs.get("to", 0)) for node in readers if node.op == "Cast"}
    others = [node.name for node in readers if node.op != "Cast"]
    if others or graph.is_output(image):
        return Left(f"{', '.join(others) or 'an output'} reads the integers themselves")
    if len(targets) != 1 or not targets <= set(FLOATS):
        return Left("it is not cast to one floating-point type")
    if any(graph.is_output(node.outputs[0]) for node in readers):
        return Left("its Cast is an output of the network")
    was = np.dtype(image.dtype)
    image.dtype = onnx.helper.tensor_dtype_to_np_dtype(targets.pop())
    for node in readers:
        bypass(graph, node)
    return Rewrote(f"{was} -> {np.dtype(image.dtype)}")
