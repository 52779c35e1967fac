"""The stride of each tensor relative to the network's input, vertically and horizontally."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_graphsurgeon as gs

from ..errors import UnsupportedGraphError
from ..graph import Graph, Shape
from ..graph.convolution import pair
from ..graph.operators import RESIZES, WINDOWED
from ..graph.surgery import argument, stored
from ..shapes.sized_shapes import known_at

Pair = tuple[float, float]
Map = tuple[int, int, int]
"""Channels, height, width of features."""

ANY_SIZE = (256, 256)
"""What images of any size are taken for."""
CHANNELS_FIRST = (*WINDOWED, "ConvTranspose", "BatchNormalization", "SpaceToDepth", "DepthToSpace")
"""Operators that give their second axis to the channels."""
BY_SHAPE = (
    "Reshape", "Gather", "GatherND", "Compress", "ReduceMean", "ReduceMax", "ReduceSum",
    "ReduceL2", "GridSample",
)  # fmt: skip
"""Operators whose stride their shapes alone say."""
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
"""What a Transpose to and from channels as the second axis is told."""
WHOLE = 0.02
"""How far a ratio of sides may be from a whole number."""


def tensor_strides(graph: Graph) -> dict[int, float]:
    """Return id of tensor -> its stride relative to the inputs, the larger of both directions."""
    return {key: max(pair) for key, pair in stride_pairs(graph).items()}


def stride_pairs(graph: Graph) -> dict[int, Pair]:
    """Return id of tensor -> its strides (vertical, horizontal) relative to the network's inputs.

    Strides of convolutions and pools multiply, those of transposed convolutions divide; so do
    slices with steps, blocks and patches that become channels, rows that are gathered or averaged,
    and a resize that makes smaller. Tensors behind one that makes larger, or behind a global pool,
    keep the stride of what they were made from, since no block stands there.
    """
    maps = _Maps(graph)
    strides: dict[int, Pair] = {id(tensor): (1.0, 1.0) for tensor in graph.inputs}
    for node in graph.nodes:
        pairs = [strides[id(t)] for t in node.inputs if id(t) in strides]
        if not pairs:
            continue
        down, across = _factors(node, maps, strides)
        maps.pass_on(node, strides)
        enlarged = max(p[0] for p in pairs) * down, max(p[1] for p in pairs) * across
        for tensor in node.outputs:
            strides[id(tensor)] = enlarged
    return strides


class _Maps:
    """The features that each tensor is, or was made of on the way to others of their kind."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shapes: dict[str, Shape] | None = None
        self._of = {id(tensor): self.own(tensor) for tensor in graph.inputs}

    def behind(self, node: gs.Node, strides: Mapping[int, Pair]) -> Map | None:
        """Return the features that a node reads, of several those of the largest stride."""
        read = [(strides[id(t)], self._of.get(id(t))) for t in node.inputs if id(t) in strides]
        most = max((stride for stride, _ in read), default=None)
        largest = [one for stride, one in read if stride == most and one is not None]
        return max(largest, key=lambda one: one[1] * one[2], default=None)

    def own(self, tensor: gs.Tensor) -> Map | None:
        """Return a tensor's own last three sides if it has four; None if they are not known."""
        shape = tensor.shape
        is_hidden = shape is None or (len(shape) == 4 and not _numbers(shape))
        if is_hidden and not isinstance(tensor, gs.Constant):
            shape = self._sized().get(tensor.name)
        if shape is None or len(shape) != 4 or not _numbers(shape):
            return None
        return int(shape[1]), int(shape[2]), int(shape[3])

    def pass_on(self, node: gs.Node, strides: Mapping[int, Pair]) -> None:
        """Note what the outputs of a node are."""
        before = self.behind(node, strides)
        for tensor in node.outputs:
            after = self.own(tensor)
            turned = node.op == "Transpose"
            kept = after is not None and before is not None and after[1:] == before[1:]
            ratio = node.op in BY_SHAPE and _ratio(node.op, before, after) != (1.0, 1.0)
            to_first = turned and list(node.attrs.get("perm", ())) == TO_FIRST
            resizes = node.op in (*CHANNELS_FIRST, *RESIZES, "Slice")
            is_own = after is not None and (to_first or resizes or ratio or (kept and not turned))
            self._of[id(tensor)] = after if is_own else before

    def _sized(self) -> dict[str, Shape]:
        """Return the shapes at the network's size, or at one that stands for any."""
        if self._shapes is None:
            try:
                self._shapes = known_at(self._graph, self._graph.image_size() or ANY_SIZE, 1).shapes
            except UnsupportedGraphError:
                self._shapes = {}
        return self._shapes


def _numbers(shape: Shape) -> bool:
    return all(isinstance(side, int) and side > 0 for side in shape[1:])


def why_not_square(graph: Graph, tensors: Iterable[gs.Tensor]) -> str | None:
    """Say which of ``tensors`` has unequal vertical and horizontal strides; None if none has."""
    strides = stride_pairs(graph)
    for tensor in tensors:
        down, across = strides.get(id(tensor), (1.0, 1.0))
        if down != across:
            return f"{tensor.name}: its stride is {down:g} down and {across:g} across"
    return None


def _factors(node: gs.Node, maps: _Maps, strides: Mapping[int, Pair]) -> Pair:
    match node.op:
        case op if op in WINDOWED:
            return pair(node, "strides")
        case "ConvTranspose":
            down, across = pair(node, "strides")
            return 1.0 / down, 1.0 / across
        case "SpaceToDepth":
            side = float(node.attrs["blocksize"])
            return side, side
        case "DepthToSpace":
            side = 1.0 / node.attrs["blocksize"]
            return side, side
        case "Slice":
            return _steps(node)
        case op if op in RESIZES:
            return _shrinking(node, maps)
        case op if op in BY_SHAPE:
            return _ratio(op, maps.behind(node, strides), maps.own(node.outputs[0]))
    return 1.0, 1.0


def _steps(node: gs.Node) -> Pair:
    """Return the steps of a Slice; without axes they are those of all axes in their order."""
    axes, steps = stored(argument(node, 3)), stored(argument(node, 4))
    if steps is None:
        return 1.0, 1.0
    places = range(len(steps)) if axes is None else axes
    by_axis = {int(axis): abs(float(step)) for axis, step in zip(places, steps, strict=True)}
    return by_axis.get(2, by_axis.get(-2, 1.0)), by_axis.get(3, by_axis.get(-1, 1.0))


def _ratio(op: str, before: Map | None, after: Map | None) -> Pair:
    """Return how many times smaller the sides became; 1, 1 if other axes changed as well.

    The channels stay as they are, or (Reshape) hold the patches that the sides lost. A side of one
    is pooled, as the strips of a coordinate attention are: that is no stride.
    """
    if before is None or after is None:
        return 1.0, 1.0
    ratios = [b / a if a > 1 else 1.0 for b, a in zip(before[1:], after[1:], strict=True)]
    whole = [max(1, round(one)) for one in ratios]
    if any(abs(one - near) > WHOLE * near for one, near in zip(ratios, whole, strict=True)):
        return 1.0, 1.0
    patches = whole[0] * whole[1] if op == "Reshape" else 1
    return (float(whole[0]), float(whole[1])) if after[0] == before[0] * patches else (1.0, 1.0)


def _shrinking(node: gs.Node, maps: _Maps) -> Pair:
    """Return the factor by which a resize shrinks; one that enlarges belongs to a decoder."""
    scales = stored(argument(node, 2 if node.op == "Resize" and len(node.inputs) > 2 else 1))
    if scales is not None and scales.size == 4 and scales.dtype.kind == "f":
        down, across = (1.0 / float(s) for s in scales[2:])
        return max(1.0, down), max(1.0, across)
    before, after = maps.own(node.inputs[0]), maps.own(node.outputs[0])
    if before is None or after is None:
        return 1.0, 1.0
    return max(1.0, before[1] / after[1]), max(1.0, before[2] / after[2])
