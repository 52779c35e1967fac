"""Normalizations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fnac.passes.errors import UnsupportedGraphError

from ..building.attributes import complement
from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Node
from ..runtime import elements, normal

_BATCH = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@converter("BatchNormalization", 1, 7, 9, 14)
def batch_normalization(builder: Builder, node: Node) -> Any:
    """BatchNormalization -> nn.BatchNorm1d/2d/3d, its momentum the other way round.

    A node whose updated statistics are read, or whose statistics are computed by others, is
    computed with ONNX's formula.
    """
    x, scale, bias, mean, var = node.inputs[:5]
    assert x is not None
    if not node.get("spatial", 1):
        raise UnsupportedGraphError(
            f"{node.label}: spatial=0, statistics for each pixel; wanted one for each channel"
        )
    epsilon, momentum = node.get("epsilon", 1e-5), node.get("momentum", 0.9)
    training = bool(node.get("training_mode", 0))
    read = [o for o in node.outputs[1:] if o and builder.facts.reads[o]]
    if training and read:
        whole = builder.call(normal.batch_norm_update, x, scale, bias, mean, var, epsilon, momentum)
        return tuple(builder.call(elements.pick, whole, i) for i in range(len(node.outputs)))
    owns = {
        "weight": builder.trainable(scale),
        "bias": builder.trainable(bias),
        "running_mean": builder.statistics(mean),
        "running_var": builder.statistics(var),
    }
    rank = builder.rank(node)
    kind = normal.BatchNorm if rank is None else _BATCH.get(rank)
    same_type = {c.tensor.dtype for c in owns.values() if c is not None}
    if all(c is not None for c in owns.values()) and kind is not None and len(same_type) == 1:
        channels = owns["weight"].tensor.numel()  # type: ignore[union-attr]
        part = kind(channels, epsilon, complement(momentum), device="meta")
        part._buffers["num_batches_tracked"] = torch.tensor(0, dtype=torch.long)
        return builder.module(node, part, [x], {k: c for k, c in owns.items() if c is not None})
    if training:  # a standardized weight (NFNet): its statistics are its own, not stored ones
        return builder.call(F.batch_norm, x, None, None, scale, bias, True, 0.0, epsilon)
    if owns["running_mean"] is None or owns["running_var"] is None:
        return builder.call(normal.batch_norm_by, x, scale, bias, mean, var, epsilon)
    return builder.call(F.batch_norm, x, mean, var, scale, bias, False, 0.0, epsilon)


@converter("InstanceNormalization", 1)
def instance_normalization(builder: Builder, node: Node) -> Any:
    """InstanceNormalization -> an InstanceNorm1d/2d/3d with affine weights."""
    x, scale, bias = node.inputs[:3]
    assert x is not None
    epsilon = node.get("epsilon", 1e-5)
    weight, own_bias = builder.trainable(scale), builder.trainable(bias)
    kinds = {3: normal.InstanceNorm1d, 4: normal.InstanceNorm2d, 5: normal.InstanceNorm3d}
    rank = builder.rank(node) or 0
    if weight is None or own_bias is None or rank not in kinds:
        return builder.call(normal.instance_norm, x, scale, bias, epsilon)
    part = kinds[rank](weight.tensor.numel(), epsilon, affine=True, device="meta")
    return builder.module(node, part, [x], {"weight": weight, "bias": own_bias})


@converter("LayerNormalization", 17)
def layer_normalization(builder: Builder, node: Node) -> Any:
    """LayerNormalization -> nn.LayerNorm."""
    x, scale, bias = node.inputs[0], node.inputs[1], node.input(2)
    assert x is not None
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    weight, own_bias = builder.trainable(scale), builder.trainable(bias)
    rank = builder.rank(node)
    over = -axis if axis < 0 else (rank - axis if rank is not None else None)
    plain = weight is not None and weight.tensor.ndim == over and not read_twice(builder, node)
    if plain and weight is not None and (bias is None or own_bias is not None):
        part = nn.LayerNorm(
            list(weight.tensor.shape), epsilon, bias=bias is not None, device="meta"
        )
        owns = {"weight": weight} | ({"bias": own_bias} if own_bias is not None else {})
        return builder.module(node, part, [x], owns)
    whole = builder.call(normal.layer_norm, x, scale, bias, axis, epsilon)
    return tuple(builder.call(elements.pick, whole, i) for i in range(len(node.outputs)))


def read_twice(builder: Builder, node: Node) -> bool:
    """Say whether any output besides the first is read."""
    return any(o and builder.facts.reads[o] for o in node.outputs[1:])


@converter("GroupNormalization", 18)
def group_normalization_of_groups(builder: Builder, node: Node) -> Any:
    """GroupNormalization of version 18, whose scale and bias are per group."""
    x, scale, bias = node.inputs[:3]
    return builder.call(
        normal.group_norm, x, node.get("num_groups"), scale, bias, node.get("epsilon", 1e-5)
    )


@converter("GroupNormalization", 21)
def group_normalization(builder: Builder, node: Node) -> Any:
    """GroupNormalization -> nn.GroupNorm."""
    x, scale, bias = node.inputs[:3]
    assert x is not None
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)
    weight, own_bias = builder.trainable(scale), builder.trainable(bias)
    if weight is None or own_bias is None:
        return builder.call(F.group_norm, x, groups, scale, bias, epsilon)
    part = nn.GroupNorm(groups, weight.tensor.numel(), epsilon, device="meta")
    return builder.module(node, part, [x], {"weight": weight, "bias": own_bias})


@converter("RMSNormalization", 23)
def rms_normalization(builder: Builder, node: Node) -> Any:
    """RMSNormalization over the axes from ``axis`` on."""
    x, scale = node.inputs[:2]
    return builder.call(normal.rms_norm, x, scale, node.get("axis", -1), node.get("epsilon", 1e-5))


@converter("LRN", 1)
def local_response_normalization(builder: Builder, node: Node) -> Any:
    """LRN over channels; the window of an even size leans to later channels."""
    x = node.inputs[0]
    return builder.call(
        normal.local_response_norm,
        x,
        node.get("size"),
        node.get("alpha", 1e-4),
        node.get("beta", 0.75),
        node.get("bias", 1.0),
    )


@converter("LpNormalization", 1)
def lp_normalization(builder: Builder, node: Node) -> Any:
    """LpNormalization along one axis; a zero vector stays zero."""
    return builder.call(normal.lp_normalize, node.inputs[0], node.get("p", 2), node.get("axis", -1))


@converter("MeanVarianceNormalization", 9)
def mean_variance_normalization(builder: Builder, node: Node) -> Any:
    """MeanVarianceNormalization with the epsilon 1e-9 of its definition."""
    axes = tuple(node.get("axes", [0, 2, 3]))
    return builder.call(normal.mean_variance_normalize, node.inputs[0], axes)
