"""The edits of an MBConv, each in one place: read its arrays, rewrite them, build a twin.

Growth passes rewrite a block where it stands; mixing builds twins beside it. Both go through
:func:`~.strategies.remap_mbconv` and the attribute rules below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import onnx_graphsurgeon as gs

from .graph import Graph
from .remap import remap_kernel
from .strategies import BatchNorm, ConvArrays, MBConvArrays, Strategy, remap_mbconv
from .structure import Block
from .units import ConvUnit, constant

BN_PARTS = ("gamma", "beta", "mean", "var")  # inputs 1 to 4 of BatchNormalization


def block_arrays(block: Block) -> MBConvArrays:
    """Return the stored arrays of a block; views, not to be written to."""
    return MBConvArrays(
        None if block.expand is None else unit_arrays(block.expand),
        unit_arrays(block.depthwise),
        unit_arrays(block.project),
    )


def store_arrays(block: Block, arrays: MBConvArrays) -> None:
    """Put arrays of the shapes it has into a block, in place."""
    for unit, new in zip(_slots(block), _slots(arrays), strict=True):
        if unit is not None and new is not None:
            for (node, index), (_, array) in zip(_stored(unit), new.parts(), strict=True):
                constant(node.inputs[index]).values = array


def unit_arrays(unit: ConvUnit) -> ConvArrays:
    """Return the stored arrays of a convolution unit; views, not to be written to."""
    bn = None if unit.bn is None else BatchNorm(*(constant(t).values for t in unit.bn.inputs[1:5]))
    bias = unit.bias
    return ConvArrays(unit.weight.values, None if bias is None else bias.values, bn)


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
        widened_pads(block.depthwise.conv, kernel)
    except ValueError as error:
        return str(error)
    return None


def rewrite_block(
    graph: Graph,
    block: Block,
    *,
    kernel: int,
    hidden: int,
    how: Strategy,
    rng: np.random.Generator,
    initializers: dict[str, str],
) -> None:
    """Give a block another kernel and hidden width, in place; fills in ``initializers``.

    New tensors are named after the ones they replace, with the candidate's name behind.
    """
    arrays, account = remap_mbconv(
        block_arrays(block),
        kernel=kernel,
        hidden=hidden,
        in_channels=block.in_channels,
        how=how,
        rng=rng,
    )
    if block.expand is None and arrays.expand is not None:
        raise ValueError(f"{block.node_name}: a block without expansion is widened by mixing only")
    suffix = f".k{kernel}h{hidden}"
    _set_window(block.depthwise.conv, kernel, hidden)
    units = zip(("expand", "depthwise", "project"), _slots(block), _slots(arrays), strict=True)
    for part, unit, new in units:
        if unit is None or new is None:
            continue
        for slot, (name, array) in zip(_stored(unit), new.parts(), strict=True):
            node, index = slot
            old = constant(node.inputs[index])
            if np.array_equal(old.values, array):
                continue
            made = gs.Constant(graph.new_name(f"{old.name}{suffix}"), array)
            node.inputs[index] = made
            initializers[made.name] = f"{account[f'{part}.{name}']} from {old.name}"
        for node in unit.nodes:
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
    arrays: MBConvArrays,
    account: dict[str, str],
    *,
    entry: gs.Tensor,
    suffix: str,
    stride: int,
    residual: bool,
) -> Built:
    """Build a block like ``block`` from ``arrays``, reading ``entry``; not yet in the graph.

    Node and tensor names are the block's with ``suffix`` behind; activations and their bounds are
    the block's. ``stride`` 1 in place of a larger one leaves padding to keep the size.
    """
    built = Built([], gs.Variable("", dtype=entry.dtype))
    tensor = entry
    if arrays.expand is not None:
        made_up = block.expand is None
        end = f".expand{suffix}" if made_up else suffix
        unit = block.expand or block.depthwise
        conv, tensor = _build_unit(
            graph, unit, arrays.expand, tensor, end, "expand", account, built
        )
        if made_up:
            ones = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1]}
            conv.attrs.update({**ones, "pads": [0, 0, 0, 0], "group": 1})
    unit = block.depthwise
    conv, tensor = _build_unit(
        graph, unit, arrays.depthwise, tensor, suffix, "depthwise", account, built
    )
    hidden, _, _, kernel = arrays.depthwise.weight.shape
    _set_window(conv, kernel, hidden, like=unit.conv)
    if stride != block.stride:
        _set_stride(conv, stride, kernel)
    _, tensor = _build_unit(
        graph, block.project, arrays.project, tensor, suffix, "project", account, built
    )
    if residual:
        name = block.residual.name if block.residual is not None else f"{block.node_name}.add"
        out = gs.Variable(graph.new_name(f"{block.output.name}.add{suffix}"), dtype=entry.dtype)
        built.nodes.append(new_node("Add", graph.new_name(name + suffix), [entry, tensor], [out]))
        tensor = out
    built.output = tensor
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


def _slots(whole: Block | MBConvArrays) -> tuple:
    return (whole.expand, whole.depthwise, whole.project)


def _stored(unit: ConvUnit) -> Iterator[tuple[gs.Node, int]]:
    """Yield (node, input index) in the order of :meth:`ConvArrays.parts`."""
    yield unit.conv, 1
    if unit.bias is not None:
        yield unit.conv, 2
    if unit.bn is not None:
        for index in range(1, 5):
            yield unit.bn, index


def _build_unit(
    graph: Graph,
    unit: ConvUnit,
    new: ConvArrays,
    entry: gs.Tensor,
    suffix: str,
    part: str,
    account: dict[str, str],
    built: Built,
) -> tuple[gs.Node, gs.Tensor]:
    """Clone the nodes of ``unit`` about new arrays; return its Conv and what the last leaves."""
    stored: dict[tuple[int, int], gs.Constant] = {}
    for (node, index), (name, array) in zip(_stored(unit), new.parts(), strict=True):
        old = node.inputs[index].name
        made = gs.Constant(graph.new_name(old + suffix), array)
        stored[id(node), index] = made
        what = account[f"{part}.{name}"]
        built.initializers[made.name] = what if what.startswith("fresh") else f"{what} from {old}"
    twins: dict[int, gs.Tensor] = {id(unit.input): entry}
    for node in unit.nodes:
        out = node.outputs[0]
        twin = gs.Variable(graph.new_name(out.name + suffix), dtype=out.dtype)
        inputs = [
            stored.get((id(node), i)) or twins.get(id(t), t) for i, t in enumerate(node.inputs)
        ]
        attrs = {k: list(v) if isinstance(v, list) else v for k, v in node.attrs.items()}
        clone = new_node(node.op, graph.new_name(node.name + suffix), inputs, [twin], attrs)
        clone.domain = node.domain
        built.nodes.append(clone)
        twins[id(out)] = twin
    return built.nodes[-len(unit.nodes)], twins[id(unit.output)]


def _set_window(conv: gs.Node, kernel: int, hidden: int, like: gs.Node | None = None) -> None:
    conv.attrs["pads"] = widened_pads(like or conv, kernel)
    conv.attrs["group"] = hidden
    if "kernel_shape" in conv.attrs or int((like or conv).inputs[1].shape[-1]) != kernel:
        conv.attrs["kernel_shape"] = [kernel, kernel]


def _set_stride(conv: gs.Node, stride: int, kernel: int) -> None:
    """Give ``conv`` another stride; at stride 1 the padding keeps the size."""
    conv.attrs["strides"] = [stride, stride]
    if stride == 1:
        dilation = int((conv.attrs.get("dilations") or [1])[0])
        conv.attrs["pads"] = [(kernel - 1) // 2 * dilation] * 4
