"""Any residual region as a block: the nodes between a tensor and the Add that adds it back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_graphsurgeon as gs

from ...decisions import Left
from ...graph import Graph
from ...graph.convolution import Conv
from ..block import Form
from ..units import ConvUnit, maker, why_not_stored
from ..windows import why_window_fixed
from .plain import CONV, PlainBlock

KIND = "region"
LARGEST = 200  # nodes that a block may have


@dataclasses.dataclass(frozen=True)
class RegionBlock(PlainBlock):
    """A residual branch and its Add: blocks of ConvNeXt, Darknet, ResNet v2.

    Role ``conv`` is its first convolution with a window, whose window is searched (and its groups,
    if it is dense); the others are ``conv1``, ... in execution order. The block may be left out,
    and repeated: it leaves as many channels as it reads.
    """

    @property
    def last(self) -> str:
        """The last convolution; the nodes after it in the block must map zero to zero."""
        return list(self.units)[-1]

    @property
    def why_not_repeated(self) -> str | None:
        """A copy of it can always follow it."""
        return None

    @property
    def why_not_silenced(self) -> str | None:
        """Refuse where a node between its last convolution and the Add prevents it."""
        assert self.residual is not None  # that is what makes it a block
        unit = self.units[self.last]
        if not unit.act and any(t is unit.output for t in self.residual.inputs):
            return None
        return f"{unit.conv.name} does not leave what its residual adds, so it cannot be silenced"

    @property
    def passes_on(self) -> bool:
        """Its input and output agree."""
        return True

    def read_off(self, region: Sequence[gs.Node]) -> tuple[str, gs.Node] | None:
        """Read kernel and groups off the convolution at the searched one's place."""
        own = [node for node in self.nodes if node.op == "Conv"]
        convs = [node for node in region if node.op == "Conv"]
        if len(convs) != len(own):
            return None
        heart = convs[next(i for i, c in enumerate(own) if c is self.units[CONV].conv)]
        rows, _, _, kernel = heart.inputs[1].shape
        return self.spell(Form(int(kernel), int(rows), Conv(heart).groups)), heart


def match_region(
    graph: Graph, units: Mapping[int, ConvUnit], node: gs.Node
) -> RegionBlock | Left | None:
    """Return the residual region whose first convolution with a window is ``node``.

    1. all that is made of ``node`` meets in an Add, whose other input is the region's entry
    2. what the Add adds is made of that entry and of stored tensors alone, and read nowhere else
    3. the window of ``node`` can grow about its centre

    Returns why it is no such block, or None for a convolution that is in none.
    """
    if why_not_stored(node) is not None or max(node.inputs[1].shape[2:]) == 1:
        return None
    joined = _meeting(graph, node)
    if joined is None:
        return None
    add, entry, leaves = joined
    if graph.producer(entry) is None:
        return Left("it reads the network's input: the stem stays as it is")
    nodes = _between(graph, entry, leaves)
    if nodes is None:
        return Left(f"one input of {add.name} does not depend on its other input alone")
    inside = {id(one) for one in nodes} | {id(add)}
    for tensor in (t for one in nodes for t in one.outputs):
        if graph.is_output(tensor) or any(id(r) not in inside for r in graph.consumers(tensor)):
            return Left(f"{tensor.name} is read outside of its residual")
    convs = [one for one in nodes if one.op == "Conv"]
    computed = [one.name for one in convs if id(one) not in units]
    if computed:
        return Left(f"the weight of {computed[0]} in the same block is not stored")
    if next(one for one in convs if max(one.inputs[1].shape[2:]) > 1) is not node:
        return None
    why = why_window_fixed(node)
    if why is not None:
        return Left(why)
    channels = _channels(graph, units, entry, leaves)
    if channels is None:
        return Left(f"how many channels {entry.name} has is not known")
    return RegionBlock(
        kind=KIND,
        entry=entry,
        output=add.outputs[0],
        units={CONV if c is node else f"conv{i + 1}": units[id(c)] for i, c in enumerate(convs)},
        nodes=(*nodes, add),
        residual=add,
        in_channels=channels,
        out_channels=channels,
    )


def _meeting(graph: Graph, start: gs.Node) -> tuple[gs.Node, gs.Tensor, gs.Tensor] | None:
    """Return the first Add where all results of ``start`` meet, its other input, and its own."""
    unread: dict[int, int] = {}  # tensor made of ``start`` -> readers that are still to come
    derived: dict[int, gs.Tensor] = {}
    count = 0
    begun = False
    for node in graph.nodes:
        begun = begun or node is start
        own = [t for t in node.inputs if id(t) in unread]
        if not begun or (node is not start and not own):
            continue
        count += 1
        if count > LARGEST:
            return None
        for tensor in own:
            unread[id(tensor)] -= 1
        for tensor in node.outputs:
            if graph.is_output(tensor):
                return None
            unread[id(tensor)] = sum(
                t is tensor for reader in graph.consumers(tensor) for t in reader.inputs
            )
            derived[id(tensor)] = tensor
        live = [key for key, left in unread.items() if left]
        others = [t for t in node.inputs if id(t) not in derived and isinstance(t, gs.Variable)]
        met = node.op == "Add" and len(live) == 1 and live[0] == id(node.outputs[0])
        if met and len(others) == 1 and len(own) == 1:
            return node, others[0], own[0]
    return None


def _between(graph: Graph, entry: gs.Tensor, leaves: gs.Tensor) -> list[gs.Node] | None:
    """Return the nodes that compute ``leaves`` from ``entry`` and constants, in graph order."""
    inside: set[int] = set()
    stack, read = [leaves], False
    while stack:
        tensor = stack.pop()
        if tensor is entry:
            read = True
            continue
        if isinstance(tensor, gs.Constant) or tensor.is_empty():
            continue
        maker = graph.producer(tensor)
        if maker is None or len(inside) > LARGEST:
            return None
        if id(maker) not in inside:
            inside.add(id(maker))
            stack.extend(maker.inputs)
    return [node for node in graph.nodes if id(node) in inside] if read else None


def _channels(
    graph: Graph, units: Mapping[int, ConvUnit], entry: gs.Tensor, leaves: gs.Tensor
) -> int | None:
    """Return the channels of a region: those of its output, or as the entry's shape says."""
    unit = maker(graph, units, leaves)
    if unit is not None:
        return unit.shape()[0]
    for shape in (entry.shape, leaves.shape):
        if shape is not None and len(shape) == 4 and isinstance(shape[1], int):
            return int(shape[1])
    for reader in graph.consumers(entry):
        if id(reader) in units:
            return Conv(reader).channels
    return None
