"""Splice a task's head, itself an ONNX network, onto a backbone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from .base import Keeps, Pass, Report
from .errors import UnsupportedGraphError
from .graph import Graph
from .raise_opset import RaiseOpset

HEAD = "head"
FEATURES, IMAGE = "features", "image"


@dataclasses.dataclass(frozen=True)
class AttachHead(Pass):
    """Let a head compute the network's outputs from the backbone's features.

    Matches  a backbone with one output; a head with an input ``features`` (joined to that output)
             and, if it wants, ``image`` (joined to the network's input).
    Changes  the head's nodes follow, marked ``fnac.part`` = ``head``; its outputs, by their names,
             are the network's. Names that are taken get a number. Of two operator sets the lower
             one is raised.
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
        if len(graph.outputs) != 1 or len(graph.inputs) != 1:
            raise UnsupportedGraphError(
                f"attach-head: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs were "
                "found; a backbone with one of each is wanted (cut-classifier leaves one)"
            )
        _align(graph, head)
        joined = _join(graph, head)
        taken = {t.name for n in graph.nodes for t in n.outputs} | {graph.inputs[0].name}
        for output in head.outputs:
            if output.name in taken:
                owner = next(t for n in graph.nodes for t in n.outputs if t.name == output.name)
                owner.name = graph.new_name(f"{owner.name}.backbone")
        outputs = {id(t) for t in head.outputs}
        renamed: set[int] = set()
        for node in head.nodes:
            node.name = graph.new_name(node.name)
            node.metadata["fnac.part"] = HEAD
            for index, tensor in enumerate(node.inputs):
                if id(tensor) in joined:
                    node.inputs[index] = joined[id(tensor)]
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
        graph.gs.nodes.extend(head.nodes)
        graph.gs.outputs[:] = head.outputs
        graph.cleanup()
        graph.refresh_shapes()
        return report

    def _load(self) -> Graph:
        if (self.path is None) == (self.model is None):
            raise UnsupportedGraphError(
                "attach-head: one head is wanted, as path=FILE or as a model"
            )
        if self.path is not None:
            return Graph.load(Path(self.path))
        assert self.model is not None
        return Graph.from_model(self.model)


def _align(graph: Graph, head: Graph) -> None:
    """Raise the lower operator set of the two."""
    wanted = max(graph.opset, head.opset)
    for what, one in (("backbone", graph), ("head", head)):
        why = RaiseOpset(to=wanted).run(one).left
        if why:
            raise UnsupportedGraphError(
                f"attach-head: the {what} has operator set {one.opset}, the other part {wanted}, "
                f"and it cannot be raised: {next(iter(why.values()))}"
            )


def _join(graph: Graph, head: Graph) -> dict[int, gs.Tensor]:
    """Return id of the head's input -> the backbone's tensor."""
    joined: dict[int, gs.Tensor] = {}
    for tensor in head.inputs:
        if tensor.name == FEATURES:
            joined[id(tensor)] = graph.outputs[0]
        elif tensor.name == IMAGE:
            joined[id(tensor)] = graph.inputs[0]
        else:
            raise UnsupportedGraphError(
                f"attach-head: the head's input {tensor.name!r} was found; "
                f"{FEATURES} and {IMAGE} are known"
            )
    if not any(t.name == FEATURES for t in head.inputs):
        raise UnsupportedGraphError(f"attach-head: the head has no input {FEATURES!r}")
    channels, given = _channels(head, FEATURES), graph.outputs[0].shape
    have = None if given is None or len(given) != 4 else given[1]
    if isinstance(channels, int) and isinstance(have, int) and channels != have:
        raise UnsupportedGraphError(
            f"attach-head: the head reads {channels} channels, the backbone leaves {have} "
            f"({graph.outputs[0].name}); build the head for {have}"
        )
    return joined


def _channels(head: Graph, name: str) -> int | str | None:
    shape = next(t.shape for t in head.inputs if t.name == name)
    return shape[1] if shape is not None and len(shape) == 4 else None
