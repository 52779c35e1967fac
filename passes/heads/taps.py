"""Find the tensors of a backbone that heads read, from its structure alone.

A *cut* is a tensor that every path from the image to the output goes through. Strides and depth
say which cut is which:

``c2`` ``c3`` ``c4`` ``c5``  the last cut of stride 4, 8, 16, 32. A 1x1 convolution that widens a
                linear tensor (with its normalisation and activation) is not counted: it begins the
                next block, or the classifier
``expansion``   the last cut of stride 16 with that convolution: what the first block of stride 32
                computes before its stride (SSDLite reads it)
``features``    the last cut in front of the classifier, without that convolution
``last``        the same with it: what is pooled

In a network that has a decoder or several outputs already, ``last`` is where its encoder ends: the
last cut before everything that enlarges, pools globally or leaves the deepest stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from ..blocks.tensor_strides import tensor_strides
from ..blocks.units import ConvUnit, find_units, pointwise
from ..errors import UnsupportedGraphError
from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.operators import ENDS_FEATURES, LAYERS
from ..graph.surgery import argument, known, pools_image, stored
from .cuts import deepest_output, find_cuts
from .encoder import encoder_ends, features_of_encoder, has_own_head

STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
NAMES = (*STRIDES, "expansion", "features", "last")

BEFORE_POOL = (
    "Conv", "BatchNormalization", "Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Mul",
    "Dropout", "Identity", "LeakyRelu",
)  # fmt: skip
BEHIND_POOL = (
    *BEFORE_POOL, "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Gemm", "MatMul",
    "Add", "Softmax", "LogSoftmax", "Cast", "Shape", "Gather", "Slice", "Concat",
)  # fmt: skip


def find_taps(graph: Graph, names: Sequence[str]) -> dict[str, gs.Tensor]:
    """Return the tensors called ``names``, in that order.

    ``graph`` is an image classifier, a backbone (of several outputs the deepest counts), or a
    network with a head of its own. Raises UnsupportedGraphError if one is not there, or if what
    stands behind the features is none of these.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UnsupportedGraphError(f"tap {unknown[0]!r}: known are {', '.join(NAMES)}")
    output = deepest_output(graph)
    own_head = has_own_head(graph)
    ends = encoder_ends(graph) if own_head else [output]
    cuts = find_cuts(graph, *ends)
    units = {id(unit.output): unit for unit in find_units(graph).values()}
    last = (
        features_of_encoder(graph, cuts) if own_head else _last_features(graph, cuts, units, output)
    )
    inside = _up_to(cuts, last)
    features = _before_widening(last, units, graph)
    trunk = _up_to(inside, features)
    strides = tensor_strides(graph)
    taps = {"last": last, "features": features}
    for name, stride in STRIDES.items():
        at = [t for t in trunk if strides.get(id(t)) == stride]
        if at:
            taps[name] = _before_widening(at[-1], units, graph)
            if name == "c4":
                taps["expansion"] = at[-1]
    missing = [name for name in names if name not in taps]
    if missing:
        have = sorted({int(strides[id(t)]) for t in trunk if id(t) in strides})
        raise UnsupportedGraphError(
            f"tap {missing[0]}: no tensor of stride {STRIDES.get(missing[0], 16)} holds all "
            f"features of the network; those of stride {', '.join(map(str, have)) or 'none'} do; "
            "take another head, or another backbone"
        )
    return {name: taps[name] for name in names}


def classifier_nodes(graph: Graph, tap: gs.Tensor) -> list[gs.Node]:
    """Return every node that depends on ``tap``, in graph order."""
    derived = {id(tap)}
    behind = []
    for node in graph.nodes:
        if any(id(tensor) in derived for tensor in node.inputs):
            behind.append(node)
            derived.update(id(tensor) for tensor in node.outputs)
    return behind


def _up_to(cuts: list[gs.Tensor], end: gs.Tensor) -> list[gs.Tensor]:
    for index, tensor in enumerate(cuts):
        if tensor is end:
            return cuts[: index + 1]
    raise UnsupportedGraphError(
        f"{end.name}: other tensors go past it to the output; wanted an image classifier, or "
        "a backbone that ends in its features"
    )


def _last_features(
    graph: Graph, cuts: list[gs.Tensor], units: dict[int, ConvUnit], output: gs.Tensor
) -> gs.Tensor:
    """Return what the classifier pools, or flattens; the output itself without a classifier.

    Where a convolution in front of the pooling classifies (SqueezeNet), what it reads.
    """
    for tensor in reversed(cuts):
        node = tensor.inputs[0]
        if node.op in ENDS_FEATURES and pools_everything(graph, node):
            behind = classifier_nodes(graph, tensor)
            unit = units.get(id(_before_dropout(graph, node.inputs[0])))
            if (
                unit is None
                or not pointwise(unit, padded=True)
                or any(n.op in LAYERS for n in behind)
            ):
                return node.inputs[0]
            return _before_dropout(graph, unit.input)
    for tensor in reversed(cuts):
        node = tensor.inputs[0]
        shape = node.inputs[0].shape if node.inputs else None
        if flattens(node) and shape is not None and len(shape) == 4:
            return node.inputs[0]
    if output.shape is not None and len(output.shape) == 4:
        return output
    raise UnsupportedGraphError(
        f"{output.name}: neither features (N, C, h, w) nor a global pooling were found; wanted an "
        "image classifier, or a backbone that ends in its features"
    )


def flattens(node: gs.Node) -> bool:
    """Say whether a node flattens to rows: Flatten, or a Reshape that is not a channel shuffle."""
    if node.op == "Flatten":
        return True
    if node.op != "Reshape":
        return False
    target, shape = stored(argument(node, 1)), node.outputs[0].shape
    return target.size == 2 if target is not None else shape is not None and len(shape) == 2


def pools_everything(graph: Graph, node: gs.Node) -> bool:
    """Say whether a node outputs one number per channel: global pooling, or one as large."""
    if pools_image(node):
        return True
    if node.op != "AveragePool":
        return False
    behind = classifier_nodes(graph, node.outputs[0])
    shape = known(node.outputs[0].shape)
    if shape is not None and len(shape) == 4:
        return shape[2:] == (1, 1)
    return all(n.op in BEHIND_POOL and not (n.op == "Conv" and _wide(n)) for n in behind)


def _wide(conv: gs.Node) -> bool:
    return max(conv.inputs[1].shape[2:], default=1) != 1


def _before_widening(tensor: gs.Tensor, units: dict[int, ConvUnit], graph: Graph) -> gs.Tensor:
    """Step back over a 1x1 convolution with activation that reads a linear tensor.

    Dropout on the way is stepped over as well.
    """
    unit = units.get(id(_before_dropout(graph, tensor)))
    if unit is None or not unit.act or not pointwise(unit, padded=True):
        return tensor
    outputs, inputs = unit.shape()[:2]
    return unit.input if outputs > inputs and _linear(graph, unit.input) else tensor


def _before_dropout(graph: Graph, tensor: gs.Tensor) -> gs.Tensor:
    while (maker := graph.producer(tensor)) is not None and maker.op in ("Dropout", "Identity"):
        tensor = maker.inputs[0]
    return tensor


def _linear(graph: Graph, tensor: gs.Tensor) -> bool:
    """Say whether a residual add or a dense convolution without activation computed ``tensor``."""
    maker = graph.producer(tensor)
    if maker is not None and maker.op == "BatchNormalization":
        maker = graph.producer(maker.inputs[0])
    if maker is None or maker.op not in ("Add", "Conv"):
        return False
    return maker.op == "Add" or Conv(maker).groups == 1
