"""The stride of each tensor relative to the network's input, vertically and horizontally."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import pair
from ..graph.operators import RESIZES, WINDOWED
from ..graph.surgery import argument, known, stored

Pair = tuple[float, float]

PATCHES = (2, 4, 8, 16, 32)  # sides of patches that a Reshape makes channels of


def tensor_strides(graph: Graph) -> dict[int, float]:
    """Return id of tensor -> its stride relative to the inputs, the larger of both directions."""
    return {key: max(pair) for key, pair in stride_pairs(graph).items()}


def stride_pairs(graph: Graph) -> dict[int, Pair]:
    """Return id of tensor -> its strides (vertical, horizontal) relative to the network's inputs.

    Strides of convolutions and pools multiply, those of transposed convolutions divide; so do
    slices with steps, blocks and patches that become channels, and a resize that makes smaller.
    Tensors behind one that makes larger, or behind a global pool, keep the stride of what they
    were made from, since no block stands there.
    """
    strides: dict[int, Pair] = {id(tensor): (1.0, 1.0) for tensor in graph.inputs}
    for node in graph.nodes:
        pairs = [strides[id(t)] for t in node.inputs if id(t) in strides]
        if not pairs:
            continue
        down, across = _factors(node, graph)
        enlarged = max(p[0] for p in pairs) * down, max(p[1] for p in pairs) * across
        for tensor in node.outputs:
            strides[id(tensor)] = enlarged
    return strides


def why_not_square(graph: Graph, tensors: Iterable[gs.Tensor]) -> str | None:
    """Say which of ``tensors`` has unequal vertical and horizontal strides; None if none has."""
    strides = stride_pairs(graph)
    for tensor in tensors:
        down, across = strides.get(id(tensor), (1.0, 1.0))
        if down != across:
            return f"{tensor.name}: its stride is {down:g} down and {across:g} across"
    return None


def shrinks(node: gs.Node) -> bool:
    """Say whether a Resize makes the features smaller, as a stem may; shapes must be known."""
    return node.op in RESIZES and max(_shrinking(node)) > 1


def _factors(node: gs.Node, graph: Graph) -> Pair:
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
        case "Reshape":
            return _patches(node, graph)
        case op if op in RESIZES:
            return _shrinking(node)
    return 1.0, 1.0


def _steps(node: gs.Node) -> Pair:
    axes, steps = stored(argument(node, 3)), stored(argument(node, 4))
    if axes is None or steps is None:
        return 1.0, 1.0
    by_axis = {int(axis): abs(float(step)) for axis, step in zip(axes, steps, strict=True)}
    return by_axis.get(2, by_axis.get(-2, 1.0)), by_axis.get(3, by_axis.get(-1, 1.0))


def _shrinking(node: gs.Node) -> Pair:
    """Return the factor by which a resize shrinks; one that enlarges belongs to a decoder."""
    before, after = known(node.inputs[0].shape), known(node.outputs[0].shape)
    scales = stored(argument(node, 2 if node.op == "Resize" and len(node.inputs) > 2 else 1))
    if scales is not None and scales.size == 4 and scales.dtype.kind == "f":
        down, across = (1.0 / float(s) for s in scales[2:])
    elif before is not None and after is not None and len(before) == len(after) == 4:
        down, across = before[2] / after[2], before[3] / after[3]
    else:
        return 1.0, 1.0
    return max(1.0, down), max(1.0, across)


def _patches(node: gs.Node, graph: Graph) -> Pair:
    """Return the sides of the patches that became channels between maps and these maps."""
    source: gs.Tensor = node.inputs[0]
    while (maker := graph.producer(source)) is not None and maker.op in ("Reshape", "Transpose"):
        source = maker.inputs[0]
    before, after = known(source.shape), known(node.outputs[0].shape)
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return 1.0, 1.0
    ratios = np.array(before[2:]) / np.maximum(after[2:], 1)
    if ratios[0] == ratios[1] and ratios[0] in PATCHES:
        return float(ratios[0]), float(ratios[1])
    return 1.0, 1.0
