"""One linear layer that reads hidden channels: its window, its norm, its stored arrays."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.hidden_channels import origin
from ..graph import Graph
from ..graph.convolution import Conv, why_padding_not_explicit
from ..graph.surgery import set_input, sole_reader, values_of
from ..remap.block_arrays import BatchNorm, ConvArrays
from ..remap.fit_arrays import row_weights
from ..remap.gram import Floats, Window

LARGEST = 6000  # numbers a pixel that one fit may read: its moments take 300 MB then
EPSILON = 1e-5  # of a BatchNormalization that states none


@dataclasses.dataclass(frozen=True)
class Linear:
    """A Conv without groups, or a Gemm, with the batch normalisation that alone reads it."""

    node: gs.Node
    bn: gs.Node | None

    @property
    def weight(self) -> np.ndarray:
        """The weight, (out, in, k, k)."""
        values = values_of(self.node.inputs[1])
        if self.node.op == "Conv":
            return values
        rows = values if self.node.attrs.get("transB", 0) else values.T
        return np.ascontiguousarray(rows)[:, :, None, None]

    @property
    def bias(self) -> np.ndarray | None:
        """The bias, (out,), if there is one."""
        if len(self.node.inputs) < 3 or not self.node.inputs[2].name:
            return None
        bias = values_of(self.node.inputs[2])
        return np.array(np.broadcast_to(bias.reshape(-1), [len(self.weight)]))

    @property
    def window(self) -> Window:
        """What it reads around an output pixel."""
        if self.node.op != "Conv":
            return Window()
        conv = Conv(self.node)
        return Window(
            int(self.weight.shape[-1]),
            conv.strides[0],
            (conv.pads[0], conv.pads[1], conv.pads[2], conv.pads[3]),
            conv.dilations[0],
        )

    @property
    def scale(self) -> Floats:
        """The following normalisation's scale of each output, with its sign."""
        arrays, outputs = self.arrays(), len(self.weight)
        if arrays.bn is None or self.bn is None:
            return np.ones(outputs)
        size = row_weights(arrays.bn, outputs, float(self.bn.attrs.get("epsilon", EPSILON)))
        return np.asarray(np.where(arrays.bn.gamma < 0, -size, size))

    def arrays(self) -> ConvArrays:
        """Return the stored arrays; views, not to be written to."""
        bn = None
        if self.bn is not None:
            bn = BatchNorm(*(values_of(t) for t in self.bn.inputs[1:5]))
        return ConvArrays(self.weight, self.bias, bn)

    def store(self, graph: Graph, arrays: ConvArrays, initializers: dict[str, str]) -> None:
        """Replace the stored arrays by fitted ones, under new names."""
        weight = arrays.weight
        if self.node.op == "Gemm":
            weight = weight[:, :, 0, 0]
            weight = weight if self.node.attrs.get("transB", 0) else weight.T
        _put(graph, self.node, 1, np.ascontiguousarray(weight), initializers)
        if arrays.bias is not None:
            _put(graph, self.node, 2, arrays.bias, initializers)
        if arrays.bn is not None and self.bn is not None:
            for index, part in enumerate(dataclasses.astuple(arrays.bn), start=1):
                _put(graph, self.bn, index, part, initializers)


def linear_of(graph: Graph, node: gs.Node) -> Linear:
    """Return a Conv or Gemm with the batch normalisation that alone reads it."""
    reader = sole_reader(graph, node.outputs[0])
    stored = (
        reader is not None
        and reader.op == "BatchNormalization"
        and len(reader.outputs) == 1
        and all(isinstance(t, gs.Constant) for t in reader.inputs[1:])
        and not any(len(t.outputs) > 1 for t in reader.inputs[1:])
    )
    return Linear(node, reader if stored else None)


def addend_of(graph: Graph, linear: Linear) -> gs.Tensor | None:
    """Return what is added to the layer's normalised result, if nothing else reads that."""
    last = linear.bn or linear.node
    add = sole_reader(graph, last.outputs[0])
    if add is None or add.op not in ("Add", "Sum") or len(add.inputs) != 2:
        return None
    others = [t for t in add.inputs if t is not last.outputs[0]]
    if len(others) != 1 or isinstance(others[0], gs.Constant):
        return None
    return others[0]


def columns_left(total: int, offset: int, count: int, kept: np.ndarray) -> np.ndarray:
    """Return the columns of a reader that stay: those of kept and of other channels."""
    return np.concatenate(
        [np.arange(offset), offset + kept, np.arange(offset + count, total)]
    ).astype(np.int64)


def leave_columns(
    graph: Graph,
    linear: Linear,
    offset: int,
    count: int,
    kept: np.ndarray,
    initializers: dict[str, str],
) -> None:
    """Keep only a layer's columns of kept channels, with unchanged weights.

    offset, count  where the channels lie among all that it reads, and how many they were
    """
    weight = linear.weight
    columns = columns_left(weight.shape[1], offset, count, kept)
    arrays = dataclasses.replace(linear.arrays(), weight=weight[:, columns])
    linear.store(graph, arrays, initializers)


def why_not_fitted(node: gs.Node) -> str | None:
    """Say why a linear layer's weights cannot be fitted to its input; None if they can."""
    if node.op != "Conv":
        return None
    numbers = math.prod(int(d) for d in node.inputs[1].shape[1:])
    if numbers > LARGEST:
        return f"{node.name} reads {numbers} numbers per pixel; weights are fitted to {LARGEST}"
    shape = node.inputs[1].shape
    conv = Conv(node)
    if len(set(shape[2:])) > 1 or len(set(conv.strides)) > 1 or len(set(conv.dilations)) > 1:
        return f"{node.name} reads them through a window that is not square"
    why_not = why_padding_not_explicit(node)
    return None if why_not is None else f"{node.name}: {why_not}"


def _put(
    graph: Graph, node: gs.Node, index: int, values: np.ndarray, initializers: dict[str, str]
) -> None:
    while len(node.inputs) <= index:
        set_input(node, len(node.inputs), gs.Variable.empty())
    old = node.inputs[index]
    if isinstance(old, gs.Constant):
        if old.values.shape == values.shape and np.array_equal(old.values, values):
            return
        said = f"fitted from {origin(old.name, initializers)}"
        base = old.name.removesuffix(".fit")
    else:
        base, said = f"{node.name}.bias", "fresh, from the fit"
    constant = gs.Constant(graph.new_name(f"{base}.fit"), values)
    set_input(node, index, constant)
    initializers[constant.name] = said
