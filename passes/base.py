"""What a pass is: frozen arguments, a decision for each node, and a report of all decisions."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Iterator
from typing import ClassVar

import onnx_graphsurgeon as gs

from .decisions import Left as Left
from .decisions import Rewrote as Rewrote
from .graph import Graph


class Keeps(enum.Flag):
    """What a pass promises not to change; the manager checks it after every run."""

    NOTHING = 0
    INTERFACE = enum.auto()  # the names, dtypes and shapes of the graph's inputs and outputs
    OUTPUTS = enum.auto()  # the numbers the graph computes


@dataclasses.dataclass
class Report:
    """Every decision of one run, by node name, in graph order; filled in while the pass runs.

    ``declined`` says, of a node the pass looked at, what it was offered and did not take: the
    candidate's name, and why. ``initializers`` says what became of stored tensors the pass
    touched, by their new name: copied, cropped, padded, collected or fresh, and from where.
    """

    rewrote: dict[str, str] = dataclasses.field(default_factory=dict)
    left: dict[str, str] = dataclasses.field(default_factory=dict)
    initializers: dict[str, str] = dataclasses.field(default_factory=dict)
    declined: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def note(self, name: str, decision: Rewrote | Left | None) -> None:
        """Record one decision about the node ``name``."""
        match decision:
            case Rewrote(what):
                self.rewrote[name] = what
            case Left(why):
                self.left[name] = why


@dataclasses.dataclass(frozen=True)
class Pass(abc.ABC):
    """One rewrite of an ONNX graph; a subclass's fields are its arguments on the command line.

    A node-wise pass defines :meth:`visit`; a pass about regions or the whole graph defines
    :meth:`run`. Either way it takes a complete network and leaves one.
    """

    name: ClassVar[str]
    keeps: ClassVar[Keeps]

    def visit(self, node: gs.Node, graph: Graph, report: Report) -> Rewrote | Left | None:
        """Rewrite ``node`` in place, or say why not; ``None``: the pass does not apply to it."""
        raise TypeError(f"{type(self).__name__} defines neither visit nor run")

    def run(self, graph: Graph) -> Report:
        """Visit every node once, in graph order. Changes ``graph`` in place."""
        report = Report()
        for node in list(graph.nodes):
            name = node.name
            report.note(name, self.visit(node, graph, report))
        if report.rewrote:
            graph.cleanup()
        return report

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield (what it is, reference, graph): each graph must compute what its reference does.

        By default the result against the graph before, when the pass keeps outputs. A pass whose
        result is a generalisation of its input (a super network) yields the settings that lead
        back to it; it may make references of its own from ``before``, which it may not change.
        """
        if Keeps.OUTPUTS in self.keeps:
            yield "the result", before, after
