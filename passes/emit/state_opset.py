"""State the lowest operator set and IR that a file needs, so that older runtimes load it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import ClassVar

import onnx

from ..base import Keeps, Pass, Report
from ..graph import Graph

WHOLE = "graph"
OWN = ("", "ai.onnx")
LEAST_IR = 4
"""The first in which stored weights need not be inputs as well."""


@dataclasses.dataclass(frozen=True)
class StateOpset(Pass):
    """State the lowest operator set in which every operator is defined as it is in this one.

    Matches  a network that states more than it needs; ``to`` names another set than the lowest.
    Changes  the version of ONNX's operator set, and the IR version, which follows from it. Notes on
             nodes (``metadata_props``) need IR 10; older tools skip them.
    Keeps    interface and outputs: no operator's definition changes. Left where ``to`` is below
             what an operator needs, or changes a definition.
    """

    name: ClassVar[str] = "state-opset"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    to: int | None = None

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        stated = graph.opset
        model = graph.skeleton()
        nodes = list(_nodes(model.graph.node))
        needed, by = max(
            ((_since(n, stated), f"{n.name} ({n.op_type})") for n in nodes), default=(1, "")
        )
        target = needed if self.to is None else self.to
        if target < needed:
            report.left[WHOLE] = f"operator set {target}: {by} needs {needed}"
            return report
        other = next((n for n in nodes if _since(n, target) != _since(n, stated)), None)
        if other is not None:
            report.left[WHOLE] = (
                f"operator set {target}: {other.name} ({other.op_type}) is defined otherwise there "
                f"than in {stated}"
            )
            return report
        lowest = _least_ir(target)
        if (target, lowest) != (stated, graph.ir_version):
            report.rewrote[WHOLE] = (
                f"operator set {stated} -> {target}, IR {graph.ir_version} -> {lowest}"
            )
            graph.state_versions(target, lowest)
        return report


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield ONNX's own operators among ``nodes``, those inside of nodes as well."""
    for node in nodes:
        if node.domain in OWN:
            yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body.node)


def _since(node: onnx.NodeProto, opset: int) -> int:
    return int(onnx.defs.get_schema(node.op_type, opset, "").since_version)


def _least_ir(opset: int) -> int:
    """Return the IR version that came with an operator set."""
    own = onnx.helper.make_opsetid("", opset)
    return max(LEAST_IR, int(onnx.helper.find_min_ir_version_for([own])))
