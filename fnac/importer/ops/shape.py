"""Shapes: reading them, computing with them, and moving data."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from fnac.passes.graph.stored_numbers import is_padding

from ..building.builder import Builder
from ..building.registry import converter
from ..building.values import Constant, Host, Node, Value
from ..runtime import elements, indexing, layout


@converter("Shape", 1, 15)
def shape(builder: Builder, node: Node) -> Any:
    """Shape, or a piece of it, as Python numbers where the rank is known."""
    x = node.inputs[0]
    start, end = node.get("start", 0), node.get("end")
    if isinstance(x, Constant):
        return torch.tensor(x.tensor.shape[start:end], dtype=torch.int64)
    rank = builder.rank(node)
    if rank is None:
        return builder.call(layout.shape_tensor, x, start, end)
    assert x is not None
    axes = range(rank)[start:end]
    return _vector([builder.size(x, axis) for axis in axes], scalar=False)


@converter("Size", 1)
def size(builder: Builder, node: Node) -> Any:
    """Size: how many elements."""
    return builder.call(layout.element_count, node.inputs[0])


@converter("Reshape", 1)
def reshape_by_attribute(builder: Builder, node: Node) -> Any:
    """Reshape before version 5."""
    return _reshape(builder, node, list(node.get("shape")), zero_copies=True)


@converter("Reshape", 5)
def reshape(builder: Builder, node: Node) -> Any:
    """Reshape; 0 copies a size unless allowzero says otherwise."""
    target = builder.numbers(node.inputs[1])
    return _reshape(builder, node, target, zero_copies=not node.get("allowzero", 0))


def _reshape(builder: Builder, node: Node, target: Any, *, zero_copies: bool) -> Any:
    x = node.inputs[0]
    assert x is not None
    if isinstance(x, Host):
        if isinstance(target, list) and len(target) <= 1:
            return Host(x.items, scalar=not target, dtype=x.dtype)
        x = builder.tensor(x)
    if not isinstance(target, list):
        return builder.call(layout.reshape if zero_copies else torch.reshape, x, target)
    if zero_copies:
        if any(isinstance(n, fx.Node) for n in target):
            return builder.call(layout.reshape, x, target)
        target = [builder.size(x, i) if n == 0 else n for i, n in enumerate(target)]
    if isinstance(x, Constant):
        return builder.call(torch.reshape, x, target)
    known = builder.facts.shape(node.tensors[0])
    alone = known is not None and len(known) > 2 and known[0] == 1
    if alone and target[:1] not in ([1], [-1], [0]) and _all_known(target):
        # no place for the batch: its pixels or channels would be mixed with those of others
        return builder.call(layout.reshape_one, x, target)
    return builder.call(torch.reshape, x, _any_batch(builder, node, target))


def _any_batch(builder: Builder, node: Node, target: list[Any]) -> list[Any]:
    """Free a batch size that the file fixed: Reshape [1, C] -> [batch, C].

    Only where the input's first size is that same number, so that nothing changes for it.
    """
    known = builder.facts.shape(node.tensors[0])
    if not known or not target or not isinstance(target[0], int) or target[0] <= 0:
        return target
    if known[0] != target[0] or not isinstance(node.inputs[0], fx.Node):
        return target
    return [builder.size(node.inputs[0], 0), *target[1:]]


@converter("Flatten", 1)
def flatten(builder: Builder, node: Node) -> Any:
    """Flatten to a matrix."""
    axis, rank = node.get("axis", 1), builder.rank(node)
    if axis == 1 and rank is not None and rank >= 2:
        return builder.call(torch.flatten, node.inputs[0], 1)
    return builder.call(layout.flatten, node.inputs[0], axis)


@converter("Transpose", 1)
def transpose(builder: Builder, node: Node) -> Any:
    """Transpose; without a permutation the axes are reversed."""
    order = node.get("perm")
    if order is None:
        return builder.call(layout.reverse_axes, node.inputs[0])
    return builder.call(torch.permute, node.inputs[0], tuple(order))


@converter("Squeeze", 1)
def squeeze_by_attribute(builder: Builder, node: Node) -> Any:
    """Squeeze before version 13."""
    return _squeeze(builder, node, node.get("axes"))


@converter("Squeeze", 13)
def squeeze(builder: Builder, node: Node) -> Any:
    """Squeeze the axes given, or all of size 1."""
    return _squeeze(builder, node, builder.known(node, 1, "the axes"))


def _squeeze(builder: Builder, node: Node, axes: list[int] | None) -> Any:
    x = node.inputs[0]
    if isinstance(x, Host):
        return Host(x.items, scalar=True, dtype=x.dtype)
    if axes is None:
        return builder.call(torch.squeeze, x)
    return builder.call(torch.squeeze, x, tuple(axes))


@converter("Unsqueeze", 1)
def unsqueeze_by_attribute(builder: Builder, node: Node) -> Any:
    """Unsqueeze before version 13."""
    return _unsqueeze(builder, node, node.get("axes"))


@converter("Unsqueeze", 13)
def unsqueeze(builder: Builder, node: Node) -> Any:
    """Unsqueeze: new axes of size 1 at these places of the result."""
    axes = builder.known(node, 1, "the axes")
    return _unsqueeze(builder, node, axes or [])


def _unsqueeze(builder: Builder, node: Node, axes: list[int]) -> Any:
    x = node.inputs[0]
    if isinstance(x, Host):
        if x.scalar and len(axes) == 1:
            return Host(x.items, scalar=False, dtype=x.dtype)
        x = builder.tensor(x)
    if len(axes) == 1:
        return builder.call(torch.unsqueeze, x, axes[0])
    return builder.call(layout.unsqueeze, x, list(axes))


@converter("Concat", 1, 4)
def concat(builder: Builder, node: Node) -> Any:
    """Concat; shapes are joined as Python numbers."""
    axis = node.get("axis", 1 if node.version < 4 else 0)
    if any(isinstance(v, Host) for v in node.inputs) and all(
        isinstance(v, Host | Constant) for v in node.inputs
    ):
        items: list[Any] = []
        for value in node.inputs:
            items += builder.numbers(value)  # type: ignore[arg-type]
        return _vector(items, scalar=False, dtype=_kind(node))
    for value in node.inputs:
        if isinstance(value, Constant) and is_padding("Concat", value.tensor.detach().numpy()):
            value.trainable = False
    values = [builder.tensor(v) for v in node.inputs if v is not None]
    maps = any(isinstance(v, Constant) and v.tensor.ndim > 1 for v in values)
    beside = any(isinstance(v, fx.Node) for v in values)
    if maps and beside and axis not in (0, -(builder.rank(node) or 0)):
        return builder.call(layout.concat, values, axis)
    return builder.call(torch.cat, values, axis)


@converter("Split", 1)
def split_by_attribute(builder: Builder, node: Node) -> Any:
    """Split with its sizes as an attribute, or into equal pieces."""
    return _split(builder, node, node.get("split"))


@converter("Split", 13)
def split(builder: Builder, node: Node) -> Any:
    """Split with its sizes as an input, or into equal pieces (the last one smaller)."""
    return _split(builder, node, builder.numbers(node.input(1)))


def _split(builder: Builder, node: Node, sizes: Any) -> Any:
    x, axis, count = node.inputs[0], node.get("axis", 0), len(node.outputs)
    assert x is not None
    if isinstance(x, Host) and (sizes is None or _all_known(sizes)):
        step = -(-len(x.items) // count)
        cuts = sizes or [step] * count
        pieces, at = [], 0
        for n in cuts:
            pieces.append(_vector(list(x.items[at : at + n]), scalar=False, dtype=x.dtype))
            at += n
        return tuple(pieces)
    x = builder.tensor(x)
    if sizes is not None:
        whole = builder.call(torch.split, x, sizes, axis)
    else:
        whole = builder.call(layout.split, x, node.get("num_outputs", count), axis)
    return tuple(builder.call(elements.pick, whole, i) for i in range(count))


@converter("Slice", 1)
def slice_by_attributes(builder: Builder, node: Node) -> Any:
    """Slice before version 10."""
    return _slice(builder, node, node.get("starts"), node.get("ends"), node.get("axes"), None)


@converter("Slice", 10)
def slice_(builder: Builder, node: Node) -> Any:
    """Slice; starts and ends may be computed from shapes, axes and steps may not."""
    steps, axes = node.input(4), node.input(3)
    return _slice(
        builder,
        node,
        builder.numbers(node.inputs[1]),
        builder.numbers(node.inputs[2]),
        builder.numbers(axes),
        builder.numbers(steps),
    )


def _slice(builder: Builder, node: Node, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
    x = node.inputs[0]
    if isinstance(x, Host) and all(
        v is None or (isinstance(v, list) and not any(isinstance(n, fx.Node) for n in v))
        for v in (starts, ends, steps)
    ):
        step = steps[0] if steps else 1
        items = list(x.items[layout.bounds(starts[0], ends[0], step, len(x.items))])
        return _vector(items, scalar=False, dtype=x.dtype)
    if isinstance(x, Host):
        x = builder.tensor(x)
    lists = all(v is None or isinstance(v, list) for v in (starts, ends, axes, steps))
    if lists and axes is not None and not any(isinstance(n, fx.Node) for n in axes):
        one = [1] * len(starts)
        plain = all(isinstance(s, int) and s > 0 for s in steps or one)
        if plain and len(axes) == 1 and axes[0] >= 0:
            index = [slice(None)] * axes[0]
            index.append(slice(starts[0], ends[0], None if not steps else steps[0]))
            return builder.call(operator.getitem, x, tuple(index))
    return builder.call(layout.slice_, x, starts, ends, axes, steps)


@converter("Gather", 1)
def gather(builder: Builder, node: Node) -> Any:
    """Gather slices along an axis; a size is picked out of a shape as a Python number."""
    x, indices, axis = node.inputs[0], node.inputs[1], node.get("axis", 0)
    if isinstance(x, Host) and isinstance(indices, Constant) and indices.tensor.ndim <= 1:
        picked = [x.items[int(i)] for i in indices.tensor.reshape(-1)]
        return _vector(picked, scalar=indices.tensor.ndim == 0, dtype=x.dtype)
    source = builder.tensor(x) if x is not None else x
    if isinstance(indices, Constant) and indices.tensor.ndim == 0:
        return builder.call(torch.select, source, axis, int(indices.tensor))
    where = builder.tensor(indices) if indices is not None else indices
    return builder.call(indexing.gather, source, where, axis)


def _all_known(numbers: Any) -> bool:
    return isinstance(numbers, list) and not any(isinstance(n, fx.Node) for n in numbers)


def _kind(node: Node) -> torch.dtype:
    value: Value | None = node.inputs[0]
    return value.dtype if isinstance(value, Host) else torch.int64


def _vector(items: list[Any], *, scalar: bool, dtype: torch.dtype = torch.int64) -> Any:
    if any(isinstance(i, fx.Node) for i in items):
        return Host(tuple(items), scalar, dtype)
    return torch.tensor(items[0] if scalar else items, dtype=dtype)
