"""Convolution units: a Conv with the batch normalisation and activation that follow it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import ACTIVATIONS, GATES
from ..graph.surgery import sole_reader


@dataclasses.dataclass(frozen=True)
class ConvUnit:
    """A convolution with its BN and activation; every inner tensor has one reader."""

    conv: gs.Node
    bn: gs.Node | None
    act: tuple[gs.Node, ...]  # none, one node, or a gate and its Mul

    @property
    def nodes(self) -> tuple[gs.Node, ...]:
        """The nodes of the unit in execution order."""
        return (self.conv, *((self.bn,) if self.bn is not None else ()), *self.act)

    @property
    def input(self) -> gs.Tensor:
        """The tensor the convolution reads."""
        return self.conv.inputs[0]

    @property
    def output(self) -> gs.Tensor:
        """The output of the unit's last node."""
        return self.nodes[-1].outputs[0]

    @property
    def weight(self) -> gs.Constant:
        """The stored weight (out, in / group, k, k)."""
        return constant(self.conv.inputs[1])

    @property
    def bias(self) -> gs.Constant | None:
        """The stored bias (out,), if there is one."""
        inputs = self.conv.inputs
        return inputs[2] if len(inputs) > 2 and isinstance(inputs[2], gs.Constant) else None

    def shape(self) -> tuple[int, ...]:
        """Return the shape of the weight."""
        return tuple(int(d) for d in self.weight.shape)


def constant(tensor: gs.Tensor) -> gs.Constant:
    """Return ``tensor``, which the caller knows to be stored."""
    assert isinstance(tensor, gs.Constant), tensor.name
    return tensor


def find_units(graph: Graph) -> dict[int, ConvUnit]:
    """Return id of Conv node -> its unit, for every 2-D Conv with stored weight and bias."""
    units = {}
    for node in graph.nodes:
        if node.op == "Conv" and why_not_stored(node) is None:
            units[id(node)] = unit_of(graph, node)
    return units


def why_not_stored(conv: gs.Node) -> str | None:
    """Say why the weights of ``conv`` cannot be rewritten; None if they can."""
    for what, tensor in zip(("weight", "bias"), conv.inputs[1:3]):
        if not isinstance(tensor, gs.Constant) and not (what == "bias" and not tensor.name):
            return f"its {what} is computed, not stored (the pass store-weights stores it)"
    if len(conv.inputs[1].shape) != 4:
        return f"its kernel has {len(conv.inputs[1].shape) - 2} dimensions, not 2"
    return None


def unit_of(graph: Graph, conv: gs.Node) -> ConvUnit:
    """Follow ``conv`` through its batch normalisation and activation."""
    bn = None
    out = conv.outputs[0]
    reader = sole_reader(graph, out)
    if reader is not None and _is_batchnorm(reader):
        bn = reader
        out = bn.outputs[0]
    return ConvUnit(conv, bn, find_activation(graph, out))


def maker(graph: Graph, units: Mapping[int, ConvUnit], tensor: gs.Tensor) -> ConvUnit | None:
    """Return the unit whose last node computes ``tensor``."""
    node = graph.producer(tensor)
    for _ in range(4):  # Mul, gate, BatchNormalization, Conv
        if node is None:
            return None
        if node.op == "Conv":
            unit = units.get(id(node))
            return unit if unit is not None and unit.output is tensor else None
        # of x * gate(x) the first input may be either; both lead to the same convolution
        node = graph.producer(node.inputs[0]) if node.inputs else None
    return None


def unit_behind(graph: Graph, units: Mapping[int, ConvUnit], tensor: gs.Tensor) -> ConvUnit | None:
    """Return the unit that is the only reader of ``tensor`` and convolves it."""
    reader = sole_reader(graph, tensor)
    unit = None if reader is None else units.get(id(reader))
    return unit if unit is not None and unit.input is tensor else None


def pointwise(unit: ConvUnit, *, strided: bool = False, padded: bool = False) -> bool:
    """Say whether a unit is a dense 1x1 convolution; of stride 1 and unpadded unless allowed."""
    look = Conv(unit.conv)
    return (
        look.window == (1, 1)
        and look.groups == 1
        and (strided or max(look.strides) == 1)
        and (padded or not any(look.pads))
    )


def _is_batchnorm(node: gs.Node) -> bool:
    return (
        node.op == "BatchNormalization"
        and len(node.outputs) == 1
        and all(isinstance(t, gs.Constant) for t in node.inputs[1:])
    )


def find_activation(graph: Graph, tensor: gs.Tensor) -> tuple[gs.Node, ...]:
    """Return the activation that alone reads ``tensor``: a node, a gate and its Mul, or none."""
    if graph.is_output(tensor):
        return ()
    readers = graph.consumers(tensor)
    if len(readers) == 1 and readers[0].op in ACTIVATIONS:
        act = readers[0]
        bounds_stored = all(isinstance(t, gs.Constant) or not t.name for t in act.inputs[1:])
        return (act,) if bounds_stored else ()
    if len(readers) == 2:
        for gate, mul in (readers, readers[::-1]):
            if gate.op in GATES and mul.op == "Mul":
                other = [t for t in mul.inputs if t is not tensor]
                if len(other) == 1 and other[0] is gate.outputs[0]:
                    alone = sole_reader(graph, gate.outputs[0]) is mul
                    return (gate, mul) if alone else ()
    return ()
