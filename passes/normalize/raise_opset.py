"""Raise the operator set, so that later passes see one spelling of every operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs
from onnx import version_converter

from ..base import Keeps, Pass, Report
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.inference import is_weight
from ..graph.tensor_checks import element_type
from ..shapes.following import Known
from ..shapes.sized_shapes import known_at

WHOLE = "graph"
RESIZE_SINCE = 11  # the operator set from which a Resize says where it looks


@dataclasses.dataclass(frozen=True)
class RaiseOpset(Pass):
    """Convert the network to operator set ``to`` with ONNX's version converter.

    Matches  a network of a lower operator set. 18 is the first in which Clip, Pad, Split, Squeeze
             and every reduction but the argmax take their numbers as inputs, not attributes.
    Changes  operators rewritten (Clip bounds, Softmax below 13, BatchNormalization 7 -> 15, ...).
             Metadata of the model and of nodes that keep their name, and the manifest, are kept.
             What the converter adds is named after the node that it belongs to.
    Keeps    interface and outputs. Left when the converter has no rule for an operator.

    The converter copies its input several times and is limited to 2 GB, so it gets weights as
    inputs without values.
    """

    name: ClassVar[str] = "raise-opset"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE | Keeps.OUTPUTS

    to: int = 18

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        before = graph.opset
        if before >= self.to:
            return report
        weights = {c.name: c for c in graph.constants() if is_weight(c)} if graph.is_plain() else {}
        model = _with_outputs(graph.skeleton(), graph) if weights else graph.to_model()
        try:
            _tell_shapes(model, known_at(graph))
            raised = version_converter.convert_version(model, self.to)
            onnx.checker.check_model(raised)
            converted = Graph.from_model(raised)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            report.left[WHOLE] = f"ONNX's version converter says: {_first_line(error)}"
            return report
        except UnsupportedGraphError as error:
            report.left[WHOLE] = f"ONNX's version converter left a graph that is broken: {error}"
            return report
        _give_back(converted, weights)
        _name_after_origins(graph, converted)
        kept = {node.name: node.metadata for node in graph.nodes}
        for node in converted.nodes:
            node.metadata = dict(kept.get(node.name, {}))
        _keep_meaning(graph, converted)
        for old, new in zip(graph.outputs, converted.outputs, strict=True):
            if not isinstance(new, gs.Constant):  # a stored tensor has its own
                new.shape, new.dtype = old.shape, old.dtype
        graph.become(converted)
        report.rewrote[WHOLE] = f"operator set {before} -> {self.to}"
        return report


def _with_outputs(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Let the outputs of ``model`` be declared as those of ``graph`` are, in place."""
    for output, tensor in zip(model.graph.output, graph.outputs, strict=True):
        if tensor.dtype is not None:
            kind = element_type(tensor.dtype)
            output.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, kind, tensor.shape))
    return model


def _give_back(graph: Graph, weights: Mapping[str, gs.Constant]) -> None:
    """Store the tensors that ``graph`` took as inputs for want of numbers again."""
    for tensor in graph.inputs:
        if tensor.name in weights:
            full = weights[tensor.name]
            constant = gs.Constant(
                tensor.name,
                full._values,  # as it lies in the file, where it was not read yet
                data_location=full.data_location,
                export_dtype=full._export_dtype,
            )
            graph.reread(tensor, constant)
    graph.put_inputs(tensor for tensor in graph.inputs if tensor.name not in weights)


def _tell_shapes(model: onnx.ModelProto, known: Known) -> None:
    """Store all known shapes: the converter needs ranks (BatchNormalization)."""
    outputs = {output.name for output in model.graph.output}
    told = {
        name: onnx.helper.make_tensor_value_info(name, known.types[name], list(known.shapes[name]))
        for node in model.graph.node
        for name in node.output
        if name in known.shapes and known.types.get(name)
    }
    kept = [info for info in model.graph.value_info if info.name not in told]
    infos = onnx.GraphProto(value_info=[*kept, *(told[n] for n in told if n not in outputs)])
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos.value_info)
    for output in model.graph.output:
        if output.name in told and not output.type.tensor_type.HasField("shape"):
            output.CopyFrom(told[output.name])


def _name_after_origins(old: Graph, new: Graph) -> None:
    """Name a node that the converter added after the file's node that it makes, or leads to."""
    names = {node.name for node in old.nodes}
    makers = {tensor.name: node.name for node in old.nodes for tensor in node.outputs}
    taken = set(names)
    for node in new.nodes:
        if node.name in names:
            continue
        origin = _origin(node, new, names, makers)
        if origin is None:
            continue
        name = f"{origin}.{node.op}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def _origin(
    node: gs.Node, graph: Graph, names: Collection[str], makers: Mapping[str, str]
) -> str | None:
    reached = [node]
    for one in reached:  # grows: breadth first, downstream
        if one.name in names:
            return one.name
        for tensor in one.outputs:
            if tensor.name in makers:
                return makers[tensor.name]
            reached += [n for n in graph.consumers(tensor) if n not in reached]
    return None


def _keep_meaning(old: Graph, new: Graph) -> None:
    """Make the only resize mode before operator set 11 explicit.

    The converter leaves the defaults of Resize, which look at other places between the pixels.
    """
    if old.opset >= RESIZE_SINCE:
        return
    for node in new.nodes:
        if node.op == "Resize":
            node.attrs["coordinate_transformation_mode"] = "asymmetric"
            if node.attrs.get("mode", "nearest") == "nearest":
                node.attrs["nearest_mode"] = "floor"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
