"""Let a network whose images are (N, H, W, C) take them as (N, C, H, W)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import onnx_graphsurgeon as gs

from ..base import Keeps, Left, Pass, Report, Rewrote
from ..graph import Graph
from ..graph.layout import TO_FIRST
from ..graph.surgery import detach, read_through


@dataclasses.dataclass(frozen=True)
class MakeChannelsFirst(Pass):
    """Remove the Transpose after a channels-last input (tf2onnx writes one).

    Matches  an input of rank 4 that only Transposes to (N, C, H, W) read.
    Changes  the input is (N, C, H, W); its Transposes are removed.
    Keeps    the results for the same image; the interface changes on purpose.
    """

    name: ClassVar[str] = "make-channels-first"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        for image in graph.inputs:
            report.note(image.name, _turn(image, graph))
        if report.rewrote:
            graph.cleanup()
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield the result with Transposes on its inputs, against the network before."""
        twin = after.copy()
        for index, (old, new) in enumerate(zip(before.inputs, after.inputs, strict=True)):
            if old.shape != new.shape:
                read_through(twin, index, old, "Transpose", {"perm": TO_FIRST})
        yield "the result for turned images", before, twin


def channels_last(graph: Graph) -> list[gs.Variable]:
    """Return the inputs that :class:`MakeChannelsFirst` would change."""
    return [tensor for tensor in graph.inputs if _is_last(tensor, graph)]


def _is_last(image: gs.Variable, graph: Graph) -> bool:
    readers = graph.consumers(image)
    return (
        image.shape is not None
        and len(image.shape) == 4
        and not graph.is_output(image)
        and bool(readers)
        and all(_turns(reader) for reader in readers)
    )


def _turns(node: gs.Node) -> bool:
    return node.op == "Transpose" and list(node.attrs.get("perm", [])) == TO_FIRST


def _turn(image: gs.Variable, graph: Graph) -> Rewrote | Left | None:
    if not _is_last(image, graph):
        return None
    readers = graph.consumers(image)
    if any(graph.is_output(reader.outputs[0]) for reader in readers):
        return Left("the turned image is an output of the network")
    for reader in readers:
        turned = reader.outputs[0]
        detach(reader)
        graph.replace_uses(turned, image)
    n, h, w, c = image.shape
    image.shape = [n, c, h, w]
    return Rewrote("NHWC -> NCHW")
