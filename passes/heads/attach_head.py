"""Splice a task's head, itself an ONNX network, onto a backbone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.surgery import set_input
from ..normalize.raise_opset import RaiseOpset

HEAD = "head"
IMAGE = "image"


@dataclasses.dataclass(frozen=True)
class AttachHead(Pass):
    """Make a head compute the network's outputs from the backbone's features.

    Matches  a backbone whose outputs are its features (as after cut-classifier), and a head with
             inputs of the same names: joined by name. A single output may have any name. The
             head's input ``image``, if it has one, is joined to the network's input.
    Changes  the head's nodes follow, marked ``fnac.part`` = ``head``; its outputs, by their names,
             are the network's. Taken names get a number. If the operator sets
             differ, the lower one is raised.
    Keeps    nothing.

    path   an ONNX file; or
    model  the head as it is; not an argument of the command line
    """

    name: ClassVar[str] = "attach-head"
    keeps: ClassVar[Keeps] = Keeps.NOTHING

    path: str | None = None
    model: onnx.ModelProto | None = dataclasses.field(default=None, repr=False, compare=False)

    def run(self, graph: Graph) -> Report:
        """Attach in place. Raises UnsupportedGraphError if the two do not fit."""
        report = Report()
        if any(node.metadata.get("fnac.part") == HEAD for node in graph.nodes):
            node = next(n for n in graph.nodes if n.metadata.get("fnac.part") == HEAD)
            report.left[node.name] = "the network has a head already"
            return report
        head = self._load()
        if len(graph.inputs) != 1:
            raise UnsupportedGraphError(
                f"attach-head: {len(graph.inputs)} inputs were found "
                f"({', '.join(t.name for t in graph.inputs)}); wanted a backbone with one"
            )
        _align(graph, head)
        joined = _join(graph, head)
        taken = {t.name for n in graph.nodes for t in n.outputs} | {graph.inputs[0].name}
        for output in head.outputs:
            if output.name in taken:
                owner = next(t for n in graph.nodes for t in n.outputs if t.name == output.name)
                owner.name = graph.new_name(f"{owner.name}.backbone")
        _name_dimensions(head, joined)
        outputs = {id(t) for t in head.outputs}
        renamed: set[int] = set()
        for node in head.nodes:
            node.name = graph.new_name(node.name)
            node.metadata["fnac.part"] = HEAD
            for index, tensor in enumerate(node.inputs):
                if id(tensor) in joined:
                    set_input(node, index, joined[id(tensor)])
            for tensor in [*node.inputs, *node.outputs]:
                if id(tensor) in renamed | outputs or not tensor.name:
                    continue
                if any(tensor is other for other in joined.values()):
                    continue
                renamed.add(id(tensor))
                tensor.name = graph.new_name(tensor.name)
                if isinstance(tensor, gs.Constant):
                    report.initializers[tensor.name] = "fresh: the head's"
            report.rewrote[node.name] = "attached"
        graph.put_nodes([*graph.nodes, *head.nodes])
        graph.put_outputs(head.outputs)
        graph.cleanup()
        graph.refresh_shapes()
        return report

    def _load(self) -> Graph:
        if (self.path is None) == (self.model is None):
            raise UnsupportedGraphError("attach-head: wanted one head, as path=FILE or as a model")
        if self.path is not None:
            return Graph.load(Path(self.path))
        assert self.model is not None
        return Graph.from_model(self.model)


def _align(graph: Graph, head: Graph) -> None:
    """Raise the lower operator set of the two."""
    opset = max(graph.opset, head.opset)
    for what, one in (("backbone", graph), ("head", head)):
        why = RaiseOpset(to=opset).run(one).left
        if why:
            raise UnsupportedGraphError(
                f"attach-head: the {what} has operator set {one.opset}, the other part {opset}, "
                f"and it cannot be raised: {next(iter(why.values()))}"
            )


def _join(graph: Graph, head: Graph) -> dict[int, gs.Tensor]:
    """Return id of the head's input -> the backbone's tensor."""
    reads = [tensor for tensor in head.inputs if tensor.name != IMAGE]
    leaves = {tensor.name: tensor for tensor in graph.outputs}
    if not reads:
        raise UnsupportedGraphError("attach-head: the head has no input for features")
    if len(reads) == len(leaves) == 1:
        pairs = [(reads[0], graph.outputs[0])]
    else:
        strange = [t.name for t in reads if t.name not in leaves]
        if strange:
            raise UnsupportedGraphError(
                f"attach-head: the head reads {strange[0]!r}; the backbone leaves "
                f"{', '.join(leaves)}; cut it with "
                f"cut-classifier{{taps={'+'.join(t.name for t in reads)}}}"
            )
        pairs = [(tensor, leaves[tensor.name]) for tensor in reads]
    for theirs, ours in pairs:
        _check_shape(theirs, ours)
    joined = {id(theirs): ours for theirs, ours in pairs}
    return joined | {id(t): graph.inputs[0] for t in head.inputs if t.name == IMAGE}


def _name_dimensions(head: Graph, joined: dict[int, gs.Tensor]) -> None:
    """Give the head's outputs the backbone's symbols and sizes for the head's own symbols."""
    same: dict[str, int | str] = {}
    for tensor in head.inputs:
        ours = joined[id(tensor)].shape
        if tensor.shape is None or ours is None:
            continue
        for theirs, value in zip(tensor.shape, ours):
            if isinstance(theirs, str) and value is not None:
                same.setdefault(theirs, value)
    for output in head.outputs:
        if output.shape is not None:
            output.shape = [same.get(d, d) if isinstance(d, str) else d for d in output.shape]


def _check_shape(theirs: gs.Tensor, ours: gs.Tensor) -> None:
    """Raise UnsupportedGraphError unless the head can read the backbone's features."""
    if theirs.shape is None or ours.shape is None:
        return
    read, left = list(theirs.shape), list(ours.shape)
    if len(read) != len(left):
        raise UnsupportedGraphError(
            f"attach-head: the head reads {theirs.name} of {len(read)} dimensions, the backbone "
            f"leaves {len(left)} ({ours.name}: {left})"
        )
    numbers = len(read) > 1 and isinstance(read[1], int) and isinstance(left[1], int)
    if numbers and read[1] != left[1]:
        raise UnsupportedGraphError(
            f"attach-head: the head reads {read[1]} channels, the backbone leaves {left[1]} "
            f"({ours.name}); build the head for {left[1]}"
        )
