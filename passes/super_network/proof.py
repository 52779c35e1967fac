"""What every candidate of a super network must compute, built independently of the mixing code.

A candidate that is larger than the seed's block computes the seed. A smaller one computes the seed
with the dropped taps, channels and connections between groups set to zero, and one of an added
layer the seed with its block repeated: networks of the seed's own nodes, with other numbers in
them. A block without expansion that gets one computes the seed with its activation once more, on
what its depthwise convolution reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..blocks.block import Block
from ..blocks.candidate_names import SKIP
from ..blocks.edit import block_arrays, build_twin, store_arrays, unit_arrays
from ..errors import PassFailedError
from ..graph import Graph
from ..graph.node_maker import new_node
from ..graph.surgery import set_input, set_output
from ..grow.grow_depth import silenced
from ..remap.block_arrays import BlockArrays, ConvArrays, identity_batchnorm
from ..remap.strategies import Strategy, strategy
from ..stored_layers import read_layers
from .choice_points import find_choice_points
from .choose import candidate_indices, choose
from .plan import Candidate, Layer


def comparable(layer: Layer, candidate: Candidate, how: Strategy) -> bool:
    """Say whether the function of ``candidate`` is known without remapping."""
    form = candidate.form
    if form is None or how.fresh:
        return False
    if how.refits and form.hidden < layer.block.form.hidden:
        return False
    if form.kernel > layer.block.kernel and not how.keeps_larger_kernel:
        return False
    return layer.block.known(form, how)


def references(
    before: Graph, layers: Sequence[Layer], name: str, how: Strategy
) -> tuple[list[str], list[Sequence[gs.Node] | None]]:
    """Turn ``before`` into the network that choosing ``name`` everywhere must compute.

    layers   the plan of ``before``; its blocks are rewritten
    returns  the arch (the seed's choice where ``name`` is not comparable), and for each layer the
             nodes that stand for its candidate
    """
    arch: list[str] = []
    standing: list[Sequence[gs.Node] | None] = []
    activated: list[int] = []
    behind: dict[int, list[gs.Node]] = {}
    entry: gs.Tensor | None = None
    previous: Layer | None = None
    seed = [block_arrays(layer.block) for layer in layers]  # before any is rewritten
    for layer, arrays in zip(layers, seed, strict=True):
        candidate = next((c for c in layer.candidates if c.name == name), None)
        if candidate is None or not comparable(layer, candidate, how):
            arch.append(layer.seed_choice)
            standing.append(None)
        elif not layer.added:
            assert candidate.form is not None  # skip is not comparable
            store_arrays(layer.block, layer.block.masked(arrays, candidate.form, how))
            if layer.block.activates_entry(candidate.form, added=False):
                activated.append(len(arch))
            arch.append(name)
            standing.append(layer.block.nodes)
        else:
            last = layer.block.nodes[-1]
            if id(last) not in behind:
                assert previous is not None  # an added layer follows one of the seed
                behind[id(last)] = []
                between = before.new_name(f"{layer.block.output.name}.{previous.name}")
                entry = gs.Variable(between, np.float32)
                set_output(last, entry)
            assert entry is not None
            nodes, entry = _repeated(before, layer, arrays, candidate, entry, how)
            behind[id(last)].extend(nodes)
            arch.append(name)
            standing.append(nodes)
        previous = layer
    ahead: dict[int, list[gs.Node]] = {}
    for index in activated:  # last, for copies of a block are made from it as it stands
        block = layers[index].block
        conv = block.units[block.heart].conv
        ahead[id(conv)] = _activated(before, block, conv)
        standing[index] = [*ahead[id(conv)], *block.nodes]
    before.put_nodes(
        one
        for node in before.nodes
        for one in (*ahead.get(id(node), ()), node, *behind.get(id(node), ()))
    )
    return arch, standing


def chosen_twin(
    after: Graph, arch: Sequence[str], standing: Sequence[Sequence[gs.Node] | None]
) -> Graph:
    """Choose ``arch`` in a copy of ``after``; tensors get the names of those they must equal.

    So the first node that differs is named, not the first block.
    """
    twin = after.copy()
    chosen = candidate_indices(read_layers(twin.manifest), arch)
    points = find_choice_points(twin)
    pairs: list[tuple[gs.Tensor, str]] = []
    for point, index, nodes in zip(points, chosen, standing, strict=True):
        region = point.regions[index]
        if nodes is None or len(nodes) > len(region):
            continue
        # from the end: an expansion that was made up has no node to stand for it
        for one, other in zip(region[-2::-1], nodes[-2::-1], strict=False):
            pairs.append((one.outputs[0], other.outputs[0].name))
    choose(twin, arch)
    taken = {t.name for n in twin.nodes for t in [*n.inputs, *n.outputs]}
    for tensor, name in pairs:
        if name not in taken:
            tensor.name = name
            taken.add(name)
    return twin


def check_candidates(graph: Graph, layers: Sequence[Layer]) -> None:
    """Raise PassFailedError unless every candidate is the block that its name spells.

    layers  the plan that ``graph`` was mixed by
    """
    stored = read_layers(graph.manifest)
    for point, entry, layer in zip(find_choice_points(graph), stored, layers, strict=True):
        for name, mul, region in zip(entry.names, point.muls, point.regions, strict=True):
            read = layer.block.read_off(region) if region else None
            kind = SKIP if not region else None if read is None else read[0]
            if kind not in (None, name):
                where = "" if read is None else f" (node {read[1].name})"
                raise PassFailedError(
                    f"mix: {layer.name}: candidate {name} is a {kind}{where}, "
                    f"weighed at node {mul.name}; its block is wrong, or the order of candidates "
                    "and of their weights differ"
                )


def _activated(graph: Graph, block: Block, conv: gs.Node) -> list[gs.Node]:
    """Make ``conv`` read its input through the block's BN, as the identity, and activation."""
    heart = block.units[block.heart]
    tensor = conv.inputs[0]
    twins: dict[int, gs.Tensor] = {id(heart.conv.outputs[0]): tensor}
    nodes = []
    for node in heart.nodes[1:]:
        inputs = [twins.get(id(t), t) for t in node.inputs]
        if node is heart.bn:
            bn = identity_batchnorm(unit_arrays(heart).bn, int(conv.inputs[1].shape[0]))
            parts = ConvArrays(np.empty(0), None, bn).parts()
            arrays = [array for name, array in parts if name != "weight"]
            names = [graph.new_name(f"{t.name}.front") for t in node.inputs[1:]]
            inputs[1:] = [gs.Constant(n, a) for n, a in zip(names, arrays, strict=True)]
        out = gs.Variable(graph.new_name(f"{node.outputs[0].name}.front"), np.float32)
        name = graph.new_name(f"{node.name}.front")
        nodes.append(new_node(node.op, name, inputs, [out], dict(node.attrs)))
        twins[id(node.outputs[0])] = out
    set_input(conv, 0, nodes[-1].outputs[0] if nodes else tensor)
    return nodes


def _repeated(
    graph: Graph,
    layer: Layer,
    seed: BlockArrays,
    candidate: Candidate,
    entry: gs.Tensor,
    how: Strategy,
) -> tuple[list[gs.Node], gs.Tensor]:
    """Return a masked copy of the seed's block that reads ``entry``, and its output."""
    block = layer.block
    assert candidate.form is not None  # skip is not comparable
    arrays, account = block.remap(
        seed, block.copied_form, added=True, how=strategy("fna"), rng=np.random.default_rng(0)
    )
    if how.silent and block.why_not_silenced is None:
        arrays = silenced(arrays, block.last)
    built = build_twin(
        graph,
        block,
        block.masked(arrays, candidate.form, how),
        account,
        entry=entry,
        suffix=f".{layer.name}",
        added=True,
    )
    out = block.output
    if not layer.owns_output:
        out = gs.Variable(graph.new_name(f"{block.output.name}.{layer.name}"), np.float32)
    set_output(built.nodes[-1], out)
    front = []
    if block.activates_entry(candidate.form, added=True):
        front = _activated(graph, block, built.nodes[0])
    return [*front, *built.nodes], out
