"""Compute in half precision; inputs and outputs stay float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..base import Keeps, Pass, Report
from ..graph import Graph
from ..graph.node_maker import new_node
from ..graph.operators import FLOAT32_UNSTATED, LAYERS, STATES_TYPE
from ..graph.surgery import leave_instead, set_input

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LOST = 0.01
"""Of the length of a stored tensor: what rounding to float16 may take away."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
MULTIPLIES = (*LAYERS, "Mul", "Div")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")
NO_HALF = ("NonMaxSuppression", "Range", "CumSum")  # ONNX or onnxruntime has them in float32 alone
LARGEST = float(np.finfo(np.float16).max)
# inputs that ONNX wants in float32 whatever the data's type is
FULL_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
UNTOUCHED = ("QuantizeLinear", "DequantizeLinear", "Loop", "If", "Scan")


@dataclasses.dataclass(frozen=True)
class ConvertFloat16(Pass):
    """Store and compute in float16; the network is still called with float32.

    Matches  a float32 network without quantization and without nested graphs.
    Changes  float32 initializers become float16; a Cast follows every float32 input and precedes
             every float32 output. A node that states float32 itself (EyeLike) keeps it, and a
             Cast follows it. Left when a weight does not fit into float16.
    Keeps    the interface; outputs change by rounding, which the manager measures.
    """

    name: ClassVar[str] = "convert-float16"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    def run(self, graph: Graph) -> Report:
        """See the class."""
        report = Report()
        why_not = _why_not_converted(graph)
        if why_not is not None:
            report.left["graph"] = why_not
            return report
        halves: dict[int, gs.Constant] = {}
        full_nodes: list[gs.Node] = []
        types = graph.refresh_shapes().types
        for node in graph.nodes:
            full = FULL_INPUTS.get(node.op, ())
            for index, tensor in enumerate(node.inputs):
                if not isinstance(tensor, gs.Constant) or index in full:
                    continue
                if tensor.dtype == np.float32:
                    set_input(node, index, _half(tensor, halves, graph, report))
            if node.op == "Cast" and node.attrs["to"] == FLOAT:
                node.attrs["to"] = HALF
            elif _states_float32(node):
                full_nodes.append(node)  # runtimes have few of these in float16: cast behind it
                continue
            fill = node.attrs.get("value")
            if node.op == "ConstantOfShape" and (fill is None or fill.dtype == np.float32):
                number = np.zeros(1) if fill is None else fill.values
                node.attrs["value"] = gs.Constant("value", np.asarray(number, np.float16))
            for tensor in node.outputs:
                if tensor.dtype == np.float32 and not graph.is_output(tensor):
                    tensor.dtype = np.dtype(np.float16)
        _cast_ends(graph, types, report)
        for node in full_nodes:
            _cast_behind(graph, node, report)
        return report


def _states_float32(node: gs.Node) -> bool:
    """Say whether ``node`` has a float32 output by its own statement, whatever it reads."""
    if node.op == "Cast" or node.op not in STATES_TYPE:
        return False
    unstated = FLOAT if node.op in FLOAT32_UNSTATED else None
    return bool(node.attrs.get(STATES_TYPE[node.op], unstated) == FLOAT)


def _why_not_converted(graph: Graph) -> str | None:
    floats = [
        tensor
        for node in graph.nodes
        for index, tensor in enumerate(node.inputs)
        if isinstance(tensor, gs.Constant)
        and index not in FULL_INPUTS.get(node.op, ())
        and tensor.dtype == np.float32
        and tensor.values.size > 1
    ]
    if not floats:
        return "it holds no float32 weights"
    for node in graph.nodes:
        if node.op in UNTOUCHED:
            return f"{node.op} {node.name} cannot be converted"
        if node.op in NO_HALF:
            return f"{node.op} {node.name} has no float16 form"
        why_not = _why_not_number(node)
        if why_not is not None:
            return why_not
    factors = {id(t) for node in graph.nodes if node.op in MULTIPLIES for t in node.inputs[:2]}
    for constant in floats:
        largest = float(np.abs(constant.values).max())
        if largest > LARGEST:
            return f"{constant.name} holds {largest:.3g}, float16 ends at {LARGEST:g}"
        lost = _lost(constant.values) if id(constant) in factors else 0.0  # a summand may be small
        if lost > LOST:
            return (
                f"{constant.name} holds numbers of {largest:.1g} at most, of which float16 loses "
                f"{lost:.0%}"
            )
    return None


def _lost(values: np.ndarray) -> float:
    """Return the part of the numbers' length that rounding to float16 takes away."""
    numbers = values.astype(np.float64)
    length = float(np.linalg.norm(numbers))
    error = float(np.linalg.norm(numbers - values.astype(np.float16).astype(np.float64)))
    return error / length if length > 0 and np.isfinite(length) else 0.0


def _why_not_number(node: gs.Node) -> str | None:
    """Say which number that ``node`` computes with is lost in float16; None: none is."""
    limits = FULL_INPUTS.get(node.op, ())
    for index, tensor in enumerate(node.inputs):
        if index in limits:
            continue
        number = _number(tensor)
        if number is None or not np.isfinite(number):
            continue
        too_large = node.op in ARITHMETIC and number > LARGEST
        if too_large or 0 < number < SMALLEST:
            return (
                f"{node.op} {node.name} computes with {number:g}; float16 goes from "
                f"{SMALLEST:.1g} to {LARGEST:g}"
            )
    return None


def _number(tensor: gs.Tensor) -> float | None:
    """Return the size of the single float32 number that a tensor stores; None: it has others."""
    if not isinstance(tensor, gs.Constant) or tensor.dtype != np.float32:
        return None
    return abs(float(tensor.values.reshape(()))) if tensor.values.size == 1 else None


def _half(
    tensor: gs.Constant, halves: dict[int, gs.Constant], graph: Graph, report: Report
) -> gs.Constant:
    if id(tensor) not in halves:
        values = np.clip(tensor.values, -LARGEST, LARGEST) if tensor.values.size == 1 else None
        values = np.asarray(tensor.values if values is None else values)
        rounded = gs.Constant(graph.new_name(f"{tensor.name}.fp16"), values.astype(np.float16))
        report.initializers[rounded.name] = f"copied from {tensor.name}, rounded"
        halves[id(tensor)] = rounded
    return halves[id(tensor)]


def _cast_ends(graph: Graph, types: Mapping[str, int], report: Report) -> None:
    """Insert Casts after the inputs and before the outputs."""
    front: list[gs.Node] = []
    for tensor in graph.inputs:
        if tensor.dtype != np.float32:
            continue
        inner = gs.Variable(graph.new_name(f"{tensor.name}.fp16"), np.float16, tensor.shape)
        graph.reread(tensor, inner)
        front.append(_cast(graph, f"{tensor.name}.to_fp16", tensor, inner, HALF))
    back: list[gs.Node] = []
    for result in graph.outputs:
        producer = graph.producer(result)
        if types.get(result.name) != FLOAT or producer is None or _states_float32(producer):
            continue
        inner = gs.Variable(graph.new_name(f"{result.name}.fp16"), np.float16, result.shape)
        leave_instead(result, inner)
        graph.reread(result, inner)
        back.append(_cast(graph, f"{result.name}.to_fp32", inner, result, FLOAT))
    last = graph.nodes[-1]
    graph.insert(back, after=last)
    graph.insert(front)
    for node in [*front, *back]:
        report.rewrote[node.name] = "cast"


def _cast_behind(graph: Graph, node: gs.Node, report: Report) -> None:
    """Make the nodes that read a float32 output read it in float16."""
    result = node.outputs[0]
    if not graph.consumers(result):
        return
    inner = gs.Variable(graph.new_name(f"{result.name}.fp16"), np.float16, result.shape)
    graph.reread(result, inner)
    cast = _cast(graph, f"{result.name}.to_fp16", result, inner, HALF)
    graph.insert([cast], after=node)
    report.rewrote[cast.name] = "cast"


def _cast(graph: Graph, name: str, source: gs.Tensor, result: gs.Tensor, to: int) -> gs.Node:
    return new_node("Cast", graph.new_name(name), [source], [result], {"to": to})
