"""Edits of a block, each defined once: read its arrays, rewrite them, build a twin.

Growth passes rewrite a block where it stands; mixing builds twins beside it. Both go through
:meth:`.Block.remap` and the attribute rules below, and know no kind of block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from ..graph import Graph
from ..graph.convolution import Conv
from ..graph.node_maker import new_node
from ..graph.surgery import set_input
from ..remap.block_arrays import BatchNorm, BlockArrays, ConvArrays
from ..remap.strategies import Strategy
from .block import Block, Form
from .units import ConvUnit, constant
from .windows import set_pointwise, set_stride, set_window

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
    set_window(heart, form.kernel, arrays[block.heart].groups)
    for role, unit in block.units.items():
        for (node, index), (name, array) in zip(_stored(unit), arrays[role].parts(), strict=True):
            old = constant(node.inputs[index])
            if np.array_equal(old.values, array):
                continue
            stored_array = gs.Constant(graph.new_name(f"{old.name}{suffix}"), array)
            set_input(node, index, stored_array)
            initializers[stored_array.name] = f"{account[f'{role}.{name}']} from {old.name}"
    for node in block.nodes[:-1]:
        node.outputs[0].shape = None


@dataclasses.dataclass
class Built:
    """A region that was built: its nodes in order, its output, the origin of its initializers."""

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
    becomes 1, a shortcut the identity. A role that the block lacks is built in front
    of the searched convolution, as a 1x1 convolution in its image.
    """
    return TwinBuilder(graph, block, arrays, account, entry, suffix, added=added).build()


class TwinBuilder:
    """Builds one twin of a block, node by node; see :func:`build_twin`."""

    def __init__(
        self,
        graph: Graph,
        block: Block,
        arrays: BlockArrays,
        account: dict[str, str],
        entry: gs.Tensor,
        suffix: str,
        *,
        added: bool,
    ) -> None:
        self.graph = graph
        self.block = block
        self.arrays = arrays
        self.account = account
        self.entry = entry
        self.suffix = suffix
        self.added = added
        self.heart = block.units[block.heart]
        self.nodes: list[gs.Node] = []
        self.initializers: dict[str, str] = {}
        self._twins: dict[int, gs.Tensor] = {id(block.entry): entry}  # of the block's tensors

    def build(self) -> Built:
        """Return the twin; its nodes are not yet in the graph."""
        front = self._front()
        owner = {id(node): role for role, unit in self.block.units.items() for node in unit.nodes}
        shortcut = {id(node) for node in self.block.shortcut} if self.added else set()
        for node in self.block.nodes:
            if id(node) in shortcut:
                self._twins[id(node.outputs[0])] = self.entry
                continue
            reads = self._twins
            if node is self.heart.conv and front is not None:
                # this convolution alone: a residual Add goes on reading the entry
                reads = {**self._twins, id(self.heart.input): front}
            role = owner.get(id(node), "")
            unit = self.block.units.get(role)
            twin = self._copy(node, unit, role, self.suffix, reads)
            self._twins.update(_in_place_of(node, twin))
            if unit is not None and node is unit.conv:
                self._fit(twin, unit, role)
        output = self._twins[id(self.block.nodes[-1].outputs[0])]
        output.name = self.graph.new_name(self.block.output.name + self.suffix)
        if self.added and self.block.residual is None:
            output = self._add(output)
        return Built(self.nodes, output, self.initializers)

    def _front(self) -> gs.Tensor | None:
        """Build the roles that the block lacks: 1x1 convolutions that read the entry."""
        tensor = None
        for role in self.arrays.keys() - self.block.units.keys():
            reads = {id(self.heart.input): self.entry if tensor is None else tensor}
            for node in self.heart.nodes:
                twin = self._copy(node, self.heart, role, f".{role}{self.suffix}", reads)
                if node is self.heart.conv:
                    set_pointwise(twin)
                reads |= _in_place_of(node, twin)
                tensor = twin.outputs[0]
        return tensor

    def _copy(
        self,
        node: gs.Node,
        unit: ConvUnit | None,
        role: str,
        suffix: str,
        reads: Mapping[int, gs.Tensor],
    ) -> gs.Node:
        """Append a copy of ``node`` that stores what the arrays of ``role`` say.

        reads  id of a tensor of the block -> what the copy reads in its place
        """
        parts = self._parts(node, unit, role)
        inputs = [
            self._stored(parts[index], tensor, role, suffix)
            if index in parts
            else reads.get(id(tensor), tensor)
            for index, tensor in enumerate(node.inputs)
        ]
        new_name = self.graph.new_name
        outputs = [gs.Variable(new_name(t.name + suffix), dtype=t.dtype) for t in node.outputs]
        attrs = {k: list(v) if isinstance(v, list) else v for k, v in node.attrs.items()}
        twin = new_node(node.op, new_name(node.name + suffix), inputs, outputs, attrs)
        twin.domain = node.domain
        self.nodes.append(twin)
        return twin

    def _parts(
        self, node: gs.Node, unit: ConvUnit | None, role: str
    ) -> dict[int, tuple[str, np.ndarray]]:
        """Return input of ``node`` -> name and numbers of what the twin stores there."""
        if unit is None:  # of no convolution: a norm, a linear layer
            weights = ((i, t) for i, t in enumerate(node.inputs) if is_weight(t))
            return {index: ("", constant(tensor).values) for index, tensor in weights}
        parts = zip(_stored(unit), self.arrays[role].parts(), strict=True)
        return {index: part for (owner, index), part in parts if owner is node}

    def _stored(
        self, part: tuple[str, np.ndarray], old: gs.Tensor, role: str, suffix: str
    ) -> gs.Constant:
        """Return the twin's stored tensor in place of ``old`` and account for it."""
        name, array = part
        stored = gs.Constant(self.graph.new_name(old.name + suffix), array)
        what = self.account[f"{role}.{name}"] if name else "copied"
        said = what if what.startswith("fresh") else f"{what} from {old.name}"
        self.initializers[stored.name] = said
        return stored

    def _fit(self, conv: gs.Node, unit: ConvUnit, role: str) -> None:
        """Give the copy of a unit's convolution the window and the stride that it needs."""
        kernel = int(self.arrays[role].weight.shape[-1])
        if unit is self.heart:
            set_window(conv, kernel, self.arrays[role].groups, like=unit.conv)
        if self.added and max(Conv(unit.conv).strides) > 1:
            set_stride(conv, 1, kernel)

    def _add(self, output: gs.Tensor) -> gs.Tensor:
        """Add the entry to the output of a copy that follows a block without a residual."""
        name = self.graph.new_name(f"{self.block.node_name}.add{self.suffix}")
        total = gs.Variable(
            self.graph.new_name(f"{self.block.output.name}.add{self.suffix}"),
            dtype=self.entry.dtype,
        )
        self.nodes.append(new_node("Add", name, [self.entry, output], [total]))
        return total


def _stored(unit: ConvUnit) -> Iterator[tuple[gs.Node, int]]:
    """Yield (node, input index) in the order of :meth:`ConvArrays.parts`."""
    yield unit.conv, 1
    if unit.bias is not None:
        yield unit.conv, 2
    if unit.bn is not None:
        for index in range(1, 5):
            yield unit.bn, index


def _in_place_of(node: gs.Node, twin: gs.Node) -> dict[int, gs.Tensor]:
    return {id(old): new for old, new in zip(node.outputs, twin.outputs, strict=True)}


def is_weight(tensor: gs.Tensor) -> bool:
    """Say whether a tensor is stored, of floats, and more than one number."""
    return isinstance(tensor, gs.Constant) and tensor.dtype == np.float32 and tensor.values.size > 1
