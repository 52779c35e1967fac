"""The edits of a block, each in one place: read its arrays, rewrite them, build a twin.

Growth passes rewrite a block where it stands; mixing builds twins beside it. Both go through
:meth:`.Block.remap` and the attribute rules below, and know no kind of block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.node_maker import new_node
from ..remap.block_arrays import BatchNorm, BlockArrays, ConvArrays
from ..remap.strategies import Strategy
from .block import Block, Form
from .units import ConvUnit, constant
from .windows import _set_pointwise, _set_stride, _set_window

BN_PARTS = ("gamma", "beta", "mean", "var")  # inputs 1 to 4 of BatchNormalization


def block_arrays(block: Block) -> BlockArrays:
    """Return the stored arrays of a block; views, not to be written to."""
    return {role: unit_arrays(unit) for role, unit in block.units.items()}


def store_arrays(block: Block, arrays: BlockArrays) -> None:
    """Put arrays of the shapes it has into a block, in place."""
    for role, unit in block.units.items():
        for (node, index), (_, array) in zip(_stored(unit), arrays[role].parts(), strict=True):
            constant(node.inputs[index]).values = array


def unit_arrays(unit: ConvUnit) -> ConvArrays:
    """Return the stored arrays of a convolution unit; views, not to be written to."""
    bn = None if unit.bn is None else BatchNorm(*(constant(t).values for t in unit.bn.inputs[1:5]))
    bias = unit.bias
    groups = Conv(unit.conv).groups
    return ConvArrays(unit.weight.values, None if bias is None else bias.values, bn, groups)


def rewrite_block(
    graph: Graph,
    block: Block,
    form: Form,
    *,
    how: Strategy,
    rng: np.random.Generator,
    initializers: dict[str, str],
) -> None:
    """Give a block another form, in place; fills in ``initializers``.

    New tensors are named after the ones they replace, with the form behind.
    """
    arrays, account = block.remap(block_arrays(block), form, added=False, how=how, rng=rng)
    if arrays.keys() != block.units.keys():
        raise ValueError(f"{block.node_name}: a block without expansion is widened by mixing only")
    suffix = f".k{form.kernel}h{form.hidden}"
    heart = block.units[block.heart].conv
    _set_window(heart, form.kernel, arrays[block.heart].groups)
    for role, unit in block.units.items():
        for (node, index), (name, array) in zip(_stored(unit), arrays[role].parts(), strict=True):
            old = constant(node.inputs[index])
            if np.array_equal(old.values, array):
                continue
            made = gs.Constant(graph.new_name(f"{old.name}{suffix}"), array)
            node.inputs[index] = made
            initializers[made.name] = f"{account[f'{role}.{name}']} from {old.name}"
    for node in block.nodes[:-1]:
        node.outputs[0].shape = None


@dataclasses.dataclass
class Built:
    """A region that was built: its nodes in order, its output, what its initializers became."""

    nodes: list[gs.Node]
    output: gs.Tensor
    initializers: dict[str, str] = dataclasses.field(default_factory=dict)


def build_twin(
    graph: Graph,
    block: Block,
    arrays: BlockArrays,
    account: dict[str, str],
    *,
    entry: gs.Tensor,
    suffix: str,
    added: bool,
) -> Built:
    """Build a block like ``block`` from ``arrays``, reading ``entry``; not yet in the graph.

    Node and tensor names are the block's with ``suffix`` behind; activations and their bounds are
    the block's. A copy behind the block (``added``) keeps the size and adds its entry: a stride
    becomes 1, a shortcut the identity. A role that the block has not is built in front
    of the searched convolution, as a 1x1 convolution in its image.
    """
    built = Built([], entry)
    twins: dict[int, gs.Tensor] = {id(block.entry): entry}
    heart = block.units[block.heart]
    front = entry
    for role in arrays.keys() - block.units.keys():
        _copy_nodes(graph, heart, heart.nodes, arrays[role], role, account, f".{role}{suffix}",
                    {id(heart.input): front}, built)  # fmt: skip
        _set_pointwise(built.nodes[-len(heart.nodes)])
        front = built.nodes[-1].outputs[0]
    owner = {id(n): role for role, unit in block.units.items() for n in unit.nodes}
    left_out = {id(node) for node in block.shortcut}
    for node in block.nodes:
        if added and id(node) in left_out:
            twins[id(node.outputs[0])] = entry
            continue
        role = owner.get(id(node), "")
        unit = block.units.get(role)
        if node is heart.conv and front is not entry:
            twins[id(heart.input)] = front
        _copy_nodes(graph, unit, [node], arrays.get(role), role, account, suffix, twins, built)
        twins[id(block.entry)] = entry
        if unit is not None and node is unit.conv:
            conv, kernel = built.nodes[-1], int(arrays[role].weight.shape[-1])
            if unit is heart:
                _set_window(conv, kernel, arrays[role].groups, like=node)
            if added and max(Conv(node).strides) > 1:
                _set_stride(conv, 1, kernel)
    built.output = twins[id(block.nodes[-1].outputs[0])]
    built.output.name = graph.new_name(block.output.name + suffix)
    if added and block.residual is None:
        name = graph.new_name(f"{block.node_name}.add{suffix}")
        out = gs.Variable(graph.new_name(f"{block.output.name}.add{suffix}"), dtype=entry.dtype)
        built.nodes.append(new_node("Add", name, [entry, built.output], [out]))
        built.output = out
    return built


def _stored(unit: ConvUnit) -> Iterator[tuple[gs.Node, int]]:
    """Yield (node, input index) in the order of :meth:`ConvArrays.parts`."""
    yield unit.conv, 1
    if unit.bias is not None:
        yield unit.conv, 2
    if unit.bn is not None:
        for index in range(1, 5):
            yield unit.bn, index


def _copy_nodes(
    graph: Graph,
    unit: ConvUnit | None,
    nodes: Sequence[gs.Node],
    new: ConvArrays | None,
    role: str,
    account: dict[str, str],
    suffix: str,
    twins: dict[int, gs.Tensor],
    built: Built,
) -> None:
    """Append copies of ``nodes`` to ``built``; what ``unit`` stores is replaced by ``new``."""
    slots: dict[tuple[int, int], tuple[str, np.ndarray]] = {}
    if unit is not None and new is not None:
        for (node, index), part in zip(_stored(unit), new.parts(), strict=True):
            slots[id(node), index] = part
    for node in nodes:
        inputs = []
        for index, tensor in enumerate(node.inputs):
            slot = slots.get((id(node), index))
            if slot is None and unit is None and is_weight(tensor):
                slot = ("", constant(tensor).values)  # of no convolution: a norm, a linear layer
            if slot is None:
                inputs.append(twins.get(id(tensor), tensor))
                continue
            made = gs.Constant(graph.new_name(tensor.name + suffix), slot[1])
            what = account[f"{role}.{slot[0]}"] if slot[0] else "copied"
            said = what if what.startswith("fresh") else f"{what} from {tensor.name}"
            built.initializers[made.name] = said
            inputs.append(made)
        outs = []
        for out in node.outputs:
            outs.append(gs.Variable(graph.new_name(out.name + suffix), dtype=out.dtype))
            twins[id(out)] = outs[-1]
        attrs = {k: list(v) if isinstance(v, list) else v for k, v in node.attrs.items()}
        clone = new_node(node.op, graph.new_name(node.name + suffix), inputs, outs, attrs)
        clone.domain = node.domain
        built.nodes.append(clone)


def is_weight(tensor: gs.Tensor) -> bool:
    """Say whether a tensor is stored, of floats, and more than one number."""
    return isinstance(tensor, gs.Constant) and tensor.dtype == np.float32 and tensor.values.size > 1
