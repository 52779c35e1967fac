"""Reductions, ArgMax, TopK, CumSum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from fnac.passes.normalize.make_batch_symbolic import axes_without_batch

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Host, Node
from ..runtime import elements, reductions


def _reduction(op: str, function: Callable[..., Any], axes_input_since: int) -> None:
    def by_attribute(builder: Builder, node: Node) -> Any:
        return _reduce(builder, node, function, node.get("axes"))

    def by_input(builder: Builder, node: Node) -> Any:
        axes = node.input(1)
        return _reduce(builder, node, function, builder.numbers(axes))

    converter(op, 1)(by_attribute)
    converter(op, axes_input_since)(by_input)


def _reduce(builder: Builder, node: Node, function: Callable[..., Any], axes: Any) -> Any:
    x = node.inputs[0]
    keep = bool(node.get("keepdims", 1))
    if node.get("noop_with_empty_axes", 0) and not (isinstance(axes, list) and axes):
        return builder.call(reductions.reduce_or_nothing, x, function.__name__, axes, keep)
    if isinstance(x, Host) and function is reductions.reduce_prod:
        total: Any = 1
        for item in x.items:
            total = builder.call(elements.product, total, item)
        if isinstance(total, int):
            return torch.tensor([total] if keep else total, dtype=x.dtype)
        return Host((total,), scalar=not keep, dtype=x.dtype)
    value = builder.tensor(x) if x is not None else x
    if isinstance(x, fx.Node) and (axes is None or isinstance(axes, list)):
        apart = axes_without_batch(axes, builder.facts.shape(node.tensors[0]), keeps=keep)
        axes = axes if apart is None else apart  # images of a batch are not reduced together
    if function is reductions.reduce_mean and isinstance(axes, list):
        dtype = builder.dtype(node)
        if dtype is not None and dtype.is_floating_point:
            return builder.call(torch.mean, value, axes, keepdim=keep)
    return builder.call(function, value, axes, keep)


for _op, _function, _since in [
    ("ReduceSum", reductions.reduce_sum, 13),
    ("ReduceMean", reductions.reduce_mean, 18),
    ("ReduceMax", reductions.reduce_max, 18),
    ("ReduceMin", reductions.reduce_min, 18),
    ("ReduceProd", reductions.reduce_prod, 18),
    ("ReduceL1", reductions.reduce_l1, 18),
    ("ReduceL2", reductions.reduce_l2, 18),
    ("ReduceSumSquare", reductions.reduce_sum_square, 18),
    ("ReduceLogSum", reductions.reduce_log_sum, 18),
    ("ReduceLogSumExp", reductions.reduce_log_sum_exp, 18),
]:
    _reduction(_op, _function, _since)


@converter("ArgMax", 1)
def argmax(builder: Builder, node: Node) -> Any:
    """ArgMax: the first largest, or the last with select_last_index."""
    return _extreme(builder, node, largest=True)


@converter("ArgMin", 1)
def argmin(builder: Builder, node: Node) -> Any:
    """ArgMin: the first smallest, or the last with select_last_index."""
    return _extreme(builder, node, largest=False)


def _extreme(builder: Builder, node: Node, *, largest: bool) -> Any:
    return builder.call(
        reductions.extreme,
        node.inputs[0],
        node.get("axis", 0),
        bool(node.get("keepdims", 1)),
        largest,
        bool(node.get("select_last_index", 0)),
    )


@converter("TopK", 1)
def top_k_by_attribute(builder: Builder, node: Node) -> Any:
    """TopK before version 10."""
    return _top_k(builder, node, node.get("k"))


@converter("TopK", 10)
def top_k(builder: Builder, node: Node) -> Any:
    """TopK along an axis; of equal values the first comes first."""
    k = builder.numbers(node.inputs[1])
    first = k[0] if isinstance(k, list) else builder.call(elements.pick, k, 0)
    return _top_k(builder, node, first)


def _top_k(builder: Builder, node: Node, k: Any) -> Any:
    largest, axis = bool(node.get("largest", 1)), node.get("axis", -1)
    whole = builder.call(reductions.top_k, node.inputs[0], k, axis, largest)
    return tuple(builder.call(elements.pick, whole, i) for i in range(2))


@converter("CumSum", 11)
def cumulative_sum(builder: Builder, node: Node) -> Any:
    """CumSum along an axis."""
    axis = builder.known(node, 1, "the axis")
    return builder.call(
        reductions.cumulative_sum,
        node.inputs[0],
        axis[0] if axis else 0,
        bool(node.get("exclusive", 0)),
        bool(node.get("reverse", 0)),
    )
