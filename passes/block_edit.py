"""The edits of a block, each in one place: read its arrays, rewrite them, build a twin.

Growth passes rewrite a block where it stands; mixing builds twins beside it. Both go through
:meth:`.Block.remap` and the attribute rules below, and know no kind of block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from .block_arrays import BatchNorm, BlockArrays, ConvArrays
from .graph import Graph
from .remap import remap_kernel
from .strategies import Strategy
from .structure import Block, Form
from .units import ConvUnit, constant, pair

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
    groups = int(unit.conv.attrs.get("group", 1))
    return ConvArrays(unit.weight.values, None if bias is None else bias.values, bn, groups)


def widened_pads(node: gs.Node, kernel: int) -> list[int]:
    """Return the pads of a convolution for another kernel about the same centres.

    Each side grows (or shrinks) by the dilated margin, so asymmetric pads stay asymmetric.

    Raises ValueError when a pad would become negative.
    """
    k = int(node.inputs[1].shape[-1])
    dilation = node.attrs.get("dilations") or [1, 1]
    margin = [(kernel - k) // 2 * int(d) for d in dilation] * 2
    old = [int(p) for p in node.attrs.get("pads") or [0] * 4]
    pads = [p + m for p, m in zip(old, margin, strict=True)]
    if min(pads) < 0:
        raise ValueError(f"its padding {old} cannot shrink by {-min(margin)}")
    return pads


def why_not_square(node: gs.Node, kernel: int | None = None) -> str | None:
    """Say why the window of a convolution cannot change about its centre; None if it can.

    kernel  the size wanted; None: any larger one
    """
    weight = node.inputs[1]
    window = [int(d) for d in weight.shape[2:]]
    if len(window) != 2 or window[0] != window[1] or window[0] % 2 == 0:
        return f"its kernel is {'x'.join(map(str, window))}, not square and odd"
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return f"its padding is {node.attrs['auto_pad']}, not explicit"
    others = [reader.name for reader in weight.outputs if reader is not node]
    if others:
        return f"its weight is shared with {others[0]}"
    if kernel is not None:
        try:
            widened_pads(node, kernel)
        except ValueError as error:
            return str(error)
    return None


def set_kernel(graph: Graph, node: gs.Node, kernel: int, initializers: dict[str, str]) -> None:
    """Crop or pad the window of a convolution about its centre, in place."""
    old = constant(node.inputs[1])
    group = int(node.attrs.get("group", 1))
    made = gs.Constant(graph.new_name(f"{old.name}.k{kernel}"), remap_kernel(old.values, kernel))
    what = "padded" if kernel > int(old.shape[-1]) else "cropped"
    _set_window(node, kernel, group)
    node.inputs[1] = made
    initializers[made.name] = f"{what} from {old.name}"


def why_not_kernel(block: Block, kernel: int) -> str | None:
    """Say why a block cannot have this kernel; None if it can."""
    try:
        widened_pads(block.units[block.heart].conv, kernel)
    except ValueError as error:
        return str(error)
    return None


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
            if added and max(pair(node, "strides")) > 1:
                _set_stride(conv, 1, kernel)
    built.output = twins[id(block.nodes[-1].outputs[0])]
    built.output.name = graph.new_name(block.output.name + suffix)
    if added and block.residual is None:
        name = graph.new_name(f"{block.node_name}.add{suffix}")
        out = gs.Variable(graph.new_name(f"{block.output.name}.add{suffix}"), dtype=entry.dtype)
        built.nodes.append(new_node("Add", name, [entry, built.output], [out]))
        built.output = out
    return built


def new_node(
    op: str,
    name: str,
    inputs: Iterable[gs.Tensor],
    outputs: Iterable[gs.Tensor],
    attrs: dict[str, object] | None = None,
) -> gs.Node:
    """Make a node with the metadata that every node of a Graph has."""
    node = gs.Node(op, name, attrs or {}, list(inputs), list(outputs))
    node.metadata = {}
    return node


def remove_nodes(graph: Graph, nodes: Iterable[gs.Node]) -> None:
    """Take nodes out of the graph, in time linear in its size; their outputs must be unread."""
    gone = {id(node): node for node in nodes}
    touched: dict[int, gs.Tensor] = {}
    for node in gone.values():
        for tensor in [*node.inputs, *node.outputs]:
            touched[id(tensor)] = tensor
        list.clear(node.inputs)
        list.clear(node.outputs)
    for tensor in touched.values():
        for readers in (tensor.inputs, tensor.outputs):
            kept = [node for node in readers if id(node) not in gone]
            list.__setitem__(readers, slice(None), kept)
    graph.gs.nodes[:] = [node for node in graph.nodes if id(node) not in gone]


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


def _set_pointwise(conv: gs.Node) -> None:
    ones = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1]}
    conv.attrs.update({**ones, "pads": [0, 0, 0, 0], "group": 1})


def _set_window(conv: gs.Node, kernel: int, groups: int, like: gs.Node | None = None) -> None:
    conv.attrs["pads"] = widened_pads(like or conv, kernel)
    if groups != 1 or "group" in conv.attrs:
        conv.attrs["group"] = groups
    if "kernel_shape" in conv.attrs or int((like or conv).inputs[1].shape[-1]) != kernel:
        conv.attrs["kernel_shape"] = [kernel, kernel]


def _set_stride(conv: gs.Node, stride: int, kernel: int) -> None:
    """Give ``conv`` another stride; at stride 1 the padding keeps the size."""
    conv.attrs["strides"] = [stride, stride]
    if stride == 1:
        dilation = int((conv.attrs.get("dilations") or [1])[0])
        conv.attrs["pads"] = [(kernel - 1) // 2 * dilation] * 4
