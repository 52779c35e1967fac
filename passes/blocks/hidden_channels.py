"""Hidden channels: channels that convolutions produce and that only convolutions read.

Their number may change without anybody outside noticing. Found by following the data, not by
kinds of blocks: the hidden channels of an MBConv (through its depthwise convolution, its
squeeze-excitation's gate and pool), of fused, basic and bottleneck blocks, of plain chains, the
squeeze of a fire module, which two convolutions read, the branches of a concatenation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import IMAGE_MEANS
from ..graph.surgery import averages_image, set_input, stored, values_of
from .units import why_not_stored

BY_VALUE = (
    "Relu", "Clip", "HardSwish", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus",
    "Selu", "Celu", "Mish", "Gelu", "Erf", "Identity", "Dropout", "ThresholdedRelu", "Softsign",
    "Abs", "Exp", "Sqrt", "Neg", "Swish",
)  # fmt: skip
"""Operators that work on each value alone; their further inputs are stored or left out."""
BY_CHANNEL = (
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "Resize", "Upsample",
    "Pad", "ReduceMean", "ReduceMax", "InstanceNormalization",
)  # fmt: skip
"""Operators that work on each channel alone."""
ARITHMETIC = ("Mul", "Add", "Sub", "Div", "PRelu")


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where a stored array holds one entry (or slice) per channel."""

    node: gs.Node
    index: int  # which input of the node
    axis: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Reading:
    """A linear layer that reads the channels.

    tensor  what it reads; the channels stand there from ``offset`` on
    pooled  the tensor before a global mean pooling, if one stands between: what is read there,
            pixel by pixel, has the mean that is read here
    """

    node: gs.Node
    tensor: gs.Tensor
    offset: int
    pooled: gs.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class HiddenChannels:
    """A set of channels inside a network.

    makers    dense convolutions whose rows they are, in graph order
    slots     every stored array with an entry for each: rows, biases, norms, depthwise windows
    grouped   depthwise convolutions of them
    readings  who reads them
    nodes     everything between, makers included, readers not
    """

    count: int
    makers: tuple[gs.Node, ...]
    slots: tuple[Slot, ...]
    grouped: tuple[gs.Node, ...]
    readings: tuple[Reading, ...]
    nodes: tuple[gs.Node, ...]

    @property
    def name(self) -> str:
        """Name of the convolution that produces them."""
        return str(self.makers[0].name)

    @property
    def feedback(self) -> bool:
        """Say whether the channels are gated by a layer that reads their mean."""
        return len(self.makers) > 1 and any(r.pooled is not None for r in self.readings)


class _CoupledError(Exception):
    """Something outside depends on the number of channels; the message says what."""


def find_hidden(
    graph: Graph, *, heads: bool = False
) -> tuple[list[HiddenChannels], dict[str, str]]:
    """Return all sets of hidden channels in graph order, and why other convolutions have none.

    heads  those inside a task's head (metadata ``fnac.part`` = ``head``) as well

    Shapes must have been inferred (Graph.refresh_shapes).
    """
    hidden: list[HiddenChannels] = []
    left: dict[str, str] = {}
    seen: set[int] = set()
    for node in graph.nodes:
        if node.op != "Conv" or id(node) in seen or _is_depthwise(node):
            continue
        if not heads and node.metadata.get("fnac.part") == "head":
            left[node.name] = "it is part of the head"
            continue
        try:
            channels = _Tracer(graph, node).trace()
        except _CoupledError as why:
            left[node.name] = str(why)
            continue
        seen.update(id(maker) for maker in channels.makers)
        if _one_pixel(channels):
            left[node.name] = "it makes channels of a single pixel"
        else:
            hidden.append(channels)
    return hidden, left


def trace_hidden(graph: Graph, maker: gs.Node) -> HiddenChannels:
    """Return the hidden channels of a convolution that is known to have some."""
    return _Tracer(graph, maker).trace()


class _Tracer:
    """Follows channels to all that makes and reads them."""

    def __init__(self, graph: Graph, start: gs.Node) -> None:
        self.graph = graph
        self.count = 0
        self.start = start
        self.offsets: dict[int, int] = {}
        self.pooled: dict[int, gs.Tensor] = {}
        self.todo: list[gs.Tensor] = []
        self.makers: list[gs.Node] = []
        self.slots: list[Slot] = []
        self.grouped: list[gs.Node] = []
        self.readings: list[Reading] = []
        self.inside: dict[int, gs.Node] = {}

    def trace(self) -> HiddenChannels:
        self._make(self.start)
        self.count = int(self.start.inputs[1].shape[0])
        while self.todo:
            tensor = self.todo.pop()
            if self.graph.is_output(tensor):
                raise _CoupledError(f"{tensor.name} is an output of the network")
            for reader in self.graph.consumers(tensor):
                self._visit(reader, tensor)
        if not self.readings:
            raise _CoupledError("nobody reads its channels")
        place = {id(node): i for i, node in enumerate(self.graph.nodes)}

        def ordered(nodes: Sequence[gs.Node]) -> tuple[gs.Node, ...]:
            return tuple(sorted(nodes, key=lambda node: place[id(node)]))

        self.readings.sort(key=lambda reading: place[id(reading.node)])
        return HiddenChannels(
            self.count,
            ordered(self.makers),
            tuple(self.slots),
            ordered(self.grouped),
            tuple(self.readings),
            ordered(list(self.inside.values())),
        )

    def _carry(self, tensor: gs.Tensor, offset: int, pooled: gs.Tensor | None) -> None:
        if id(tensor) in self.offsets:
            if self.offsets[id(tensor)] != offset:
                raise _CoupledError(f"{tensor.name} holds its channels twice")
            return
        self.offsets[id(tensor)] = offset
        if pooled is not None:
            self.pooled[id(tensor)] = pooled
        self.todo.append(tensor)

    def _make(self, conv: gs.Node) -> None:
        why = why_not_stored(conv)
        if why is not None:
            raise _CoupledError(why)
        if Conv(conv).groups > 1:
            raise _CoupledError(f"{conv.name} has groups")
        if self.count and Conv(conv).rows != self.count:
            raise _CoupledError(f"{conv.name} makes another number of channels")
        self._slot(conv, 1, 0, 0)
        if len(conv.inputs) > 2 and conv.inputs[2].name:
            self._slot(conv, 2, 0, 0)
        self.makers.append(conv)
        self.inside[id(conv)] = conv
        self._carry(conv.outputs[0], 0, None)

    def _slot(self, node: gs.Node, index: int, axis: int, offset: int) -> None:
        tensor = node.inputs[index]
        if not isinstance(tensor, gs.Constant):
            raise _CoupledError(f"{node.name} computes what it applies to each channel")
        others = [reader.name for reader in tensor.outputs if reader is not node]
        if others:
            raise _CoupledError(f"{tensor.name} is shared with {others[0]}")
        self.slots.append(Slot(node, index, axis, offset))

    def _visit(self, node: gs.Node, tensor: gs.Tensor) -> None:
        if id(node) in self.inside:
            return
        offset, pooled = self.offsets[id(tensor)], self.pooled.get(id(tensor))
        match node.op:
            case "Conv" if node.inputs[0] is tensor:
                self._convolution(node, tensor, offset, pooled)
                return
            case "Gemm" if node.inputs[0] is tensor:
                self._product(node, tensor, offset, pooled)
                return
            case "BatchNormalization":
                for index in range(1, 5):
                    self._slot(node, index, 0, offset)
            case "Concat":
                offset = self._concatenated(node, tensor, offset)
                pooled = None
            case "Flatten":
                if not (self._is_one_pixel(tensor) and node.attrs.get("axis", 1) == 1):
                    raise _CoupledError(f"{node.name} makes positions of its channels")
            case op if op in ARITHMETIC:
                self._arithmetic(node, tensor, offset)
            case op if op in BY_VALUE:
                if any(isinstance(t, gs.Variable) and t.name for t in node.inputs[1:]):
                    raise _CoupledError(f"{node.name} ({node.op}) has computed arguments")
            case op if op in BY_CHANNEL:
                pooled = self._by_channel(node, tensor, offset, pooled)
            case _:
                raise _CoupledError(f"{node.name} ({node.op}) reads its channels")
        self.inside[id(node)] = node
        self._carry(node.outputs[0], offset, pooled)

    def _convolution(
        self, node: gs.Node, tensor: gs.Tensor, offset: int, pooled: gs.Tensor | None
    ) -> None:
        why = why_not_stored(node)
        if why is not None:
            raise _CoupledError(f"{node.name}: {why}")
        if _is_depthwise(node):
            if not Conv(node).is_depthwise:
                raise _CoupledError(f"{node.name} makes several channels of each")
            self._slot(node, 1, 0, offset)
            if len(node.inputs) > 2 and node.inputs[2].name:
                self._slot(node, 2, 0, offset)
            self.grouped.append(node)
            self.inside[id(node)] = node
            self._carry(node.outputs[0], offset, None)
            return
        if Conv(node).groups > 1:
            raise _CoupledError(f"{node.name} reads its channels in groups")
        self._read(node, tensor, offset, pooled)

    def _product(
        self, node: gs.Node, tensor: gs.Tensor, offset: int, pooled: gs.Tensor | None
    ) -> None:
        weight = stored(node.inputs[1])
        plain = node.attrs.get("alpha", 1.0) == node.attrs.get("beta", 1.0) == 1.0
        if weight is None or node.attrs.get("transA", 0) or not plain:
            raise _CoupledError(f"{node.name} (Gemm) computes its weight, or scales it")
        if pooled is None:
            raise _CoupledError(f"{node.name} (Gemm) reads its channels at one pixel")
        self._read(node, tensor, offset, pooled)

    def _read(
        self, node: gs.Node, tensor: gs.Tensor, offset: int, pooled: gs.Tensor | None
    ) -> None:
        weight = node.inputs[1]
        others = [reader.name for reader in weight.outputs if reader is not node]
        if others:
            raise _CoupledError(f"{weight.name} is shared with {others[0]}")
        if pooled is not None and id(pooled) not in self.offsets:
            raise _CoupledError(f"{node.name} reads a mean of more than its channels")
        self.readings.append(Reading(node, tensor, offset, pooled))

    def _concatenated(self, node: gs.Node, tensor: gs.Tensor, offset: int) -> int:
        rank = None if tensor.shape is None else len(tensor.shape)
        axis = int(node.attrs.get("axis", 1))
        if axis not in (1, 1 - (rank or 0)):
            raise _CoupledError(f"{node.name} joins its channels with others along another axis")
        if sum(t is tensor for t in node.inputs) > 1:
            raise _CoupledError(f"{node.name} joins its channels with themselves")
        for other in node.inputs:
            if other is tensor:
                return offset
            channels = other.shape[1] if other.shape and len(other.shape) > 1 else None
            if not isinstance(channels, int):
                raise _CoupledError(f"how many channels {other.name} has is not known")
            offset += channels
        raise AssertionError(node.name)

    def _arithmetic(self, node: gs.Node, tensor: gs.Tensor, offset: int) -> None:
        for index, other in enumerate(node.inputs):
            if other is tensor or id(other) in self.offsets:
                continue
            if isinstance(other, gs.Constant):
                self._constant(node, index, other, offset)
            elif node.op == "Mul":
                self._gate(other, offset)
            else:
                raise _CoupledError(f"{node.name} ({node.op}) adds others to its channels")

    def _constant(self, node: gs.Node, index: int, other: gs.Constant, offset: int) -> None:
        shape = list(other.shape)
        if other.values.size == 1:
            return
        axis = len(shape) - 3
        if axis < 0 or other.values.size != shape[axis]:
            raise _CoupledError(
                f"{node.name} ({node.op}) applies {other.name} to more than channels"
            )
        self._slot(node, index, axis, offset)

    def _gate(self, tensor: gs.Tensor, offset: int) -> None:
        """Include the producer of the other factor, whose channels must be removed alike."""
        path = [tensor]
        maker = self.graph.producer(tensor)
        while maker is not None and maker.op in (*BY_VALUE, *ARITHMETIC, "BatchNormalization"):
            moving = [t for t in maker.inputs if isinstance(t, gs.Variable) and t.name]
            if len(moving) != 1:
                break
            path.append(moving[0])
            maker = self.graph.producer(moving[0])
        if id(path[-1]) in self.offsets:
            return  # x * gate(x): found from its other end
        if maker is None or maker.op != "Conv" or offset:
            raise _CoupledError(f"its channels are multiplied by {tensor.name}")
        if _is_depthwise(maker):
            raise _CoupledError(f"its channels are multiplied by those of {maker.name}")
        self._make(maker)

    def _by_channel(
        self, node: gs.Node, tensor: gs.Tensor, offset: int, pooled: gs.Tensor | None
    ) -> gs.Tensor | None:
        match node.op:
            case "Resize" | "Upsample":
                if not _resizes_pictures(node):
                    raise _CoupledError(
                        f"{node.name} ({node.op}) states how many channels there are"
                    )
            case "Pad":
                pads = stored(node.inputs[1]) if len(node.inputs) > 1 else None
                rank = None if pads is None else len(pads) // 2
                if pads is None or rank is None or pads[:2].any() or pads[rank : rank + 2].any():
                    raise _CoupledError(
                        f"{node.name} (Pad) pads channels, or computes its padding at run time"
                    )
                if len(node.inputs) > 3 and node.inputs[3].name:
                    raise _CoupledError(f"{node.name} (Pad) names the axes that it pads")
            case "ReduceMean" | "ReduceMax":
                axes = _axes(node)
                if axes is None or not axes <= {2, 3}:
                    raise _CoupledError(f"{node.name} ({node.op}) takes channels together")
            case "InstanceNormalization":
                self._slot(node, 1, 0, offset)
                self._slot(node, 2, 0, offset)
        if node.op in IMAGE_MEANS:
            return tensor if averages_image(node) and not self._is_one_pixel(tensor) else pooled
        return None

    def _is_one_pixel(self, tensor: gs.Tensor) -> bool:
        shape = tensor.shape
        return shape is not None and (len(shape) == 2 or list(shape[2:]) == [1, 1])


def _one_pixel(channels: HiddenChannels) -> bool:
    return all(
        maker.outputs[0].shape is not None and list(maker.outputs[0].shape[2:]) == [1, 1]
        for maker in channels.makers
    )


def _is_depthwise(node: gs.Node) -> bool:
    weight = stored(node.inputs[1])
    return weight is not None and weight.ndim == 4 and Conv(node).reads_one_channel


def _axes(node: gs.Node) -> set[int] | None:
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1:
        values = stored(node.inputs[1])
        axes = None if values is None else values.ravel().tolist()
    return None if axes is None else {int(axis) % 4 for axis in axes}


def _resizes_pictures(node: gs.Node) -> bool:
    """Say whether the node's arguments do not depend on the number of channels."""
    scales = node.attrs.get("scales")
    if scales is None:
        values = [stored(t) for t in node.inputs[1:] if t.name]
        floats = [v for v in values if v is not None and v.dtype.kind == "f" and v.size == 4]
        if len(floats) != 1 or (len(node.inputs) > 3 and node.inputs[3].name):
            return set(node.attrs.get("axes") or ()) == {2, 3}
        scales = floats[0].tolist()
    return len(scales) == 4 and np.allclose(scales[:2], 1)


def keep_channels(
    graph: Graph,
    channels: HiddenChannels,
    kept: np.ndarray,
    initializers: dict[str, str],
) -> None:
    """Reduce the channels to ``kept``, in that order, wherever they are produced; in place.

    Readers keep their columns until they get new weights.
    """
    for slot in channels.slots:
        old = slot.node.inputs[slot.index]
        values = values_of(old)
        own = slice(slot.offset, slot.offset + channels.count)
        index = np.arange(values.shape[slot.axis])
        index = np.concatenate([index[: own.start], index[own][kept], index[own.stop :]])
        selected = gs.Constant(
            graph.new_name(f"{old.name}.w{len(kept)}"), np.take(values, index, axis=slot.axis)
        )
        set_input(slot.node, slot.index, selected)
        initializers[selected.name] = f"selected from {origin(old.name, initializers)}"
    for conv in channels.grouped:
        conv.attrs["group"] = Conv(conv).rows
    lost = channels.count - len(kept)
    for node in channels.nodes:
        for tensor in node.outputs:
            if tensor.shape is not None and isinstance(tensor.shape[1], int):
                tensor.shape = [tensor.shape[0], tensor.shape[1] - lost, *tensor.shape[2:]]


def origin(name: str, initializers: dict[str, str]) -> str:
    """Return and remove the record of which tensor a stored one was made from."""
    return initializers.pop(name, f"made from {name}").rpartition(" from ")[2]
