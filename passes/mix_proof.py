"""What every candidate of a super network must compute, made without the code that mixes.

A candidate that is larger than the seed's block computes the seed. A smaller one computes the seed
with the dropped taps and channels set to zero, and one of an added layer the seed with its block
repeated: networks of the seed's own nodes, with other numbers in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from .block_edit import block_arrays, build_twin, store_arrays
from .choice import find_choice_points
from .choose import candidate_indices, choose
from .errors import PassFailedError
from .graph import Graph
from .mix_plan import SKIP, Candidate, Layer
from .strategies import MBConvArrays, Strategy, kept_channels, remap_mbconv, strategy
from .structure import candidate_name


def comparable(layer: Layer, candidate: Candidate, how: Strategy) -> bool:
    """Say whether it is known, without remapping it, what ``candidate`` computes."""
    block = layer.block
    if candidate.name == SKIP or how.fresh:
        return False
    if candidate.kernel > block.kernel and not how.keeps_larger_kernel:
        return False
    if candidate.hidden > block.hidden and not how.keeps_wider:
        return False
    same_width = candidate.hidden == block.hidden and block.in_channels == block.out_channels
    return block.expand is not None or same_width


def references(
    before: Graph, layers: Sequence[Layer], name: str, how: Strategy
) -> tuple[list[str], list[Sequence[gs.Node] | None]]:
    """Turn ``before`` into the network that candidate ``name`` everywhere must compute.

    layers   the plan of ``before``; its blocks are rewritten
    returns  the arch (the seed's choice where ``name`` is not comparable), and for each layer the
             nodes that stand for its candidate
    """
    arch: list[str] = []
    standing: list[Sequence[gs.Node] | None] = []
    behind: dict[int, list[gs.Node]] = {}
    entry: gs.Tensor | None = None
    previous: Layer | None = None
    seed = {id(layer.block): block_arrays(layer.block) for layer in layers}
    for layer in layers:
        arrays = seed[id(layer.block)]
        candidate = next((c for c in layer.candidates if c.name == name), None)
        if candidate is None or not comparable(layer, candidate, how):
            arch.append(layer.seed_choice)
            standing.append(None)
        elif not layer.added:
            store_arrays(layer.block, _masked(arrays, candidate, how))
            arch.append(name)
            standing.append(layer.block.nodes)
        else:
            last = layer.block.nodes[-1]
            if id(last) not in behind:
                assert previous is not None  # an added layer follows one of the seed
                behind[id(last)] = []
                between = before.new_name(f"{layer.block.output.name}.{previous.name}")
                entry = gs.Variable(between, np.float32)
                last.outputs[0] = entry
            assert entry is not None
            nodes, entry = _repeated(before, layer, arrays, candidate, entry, how)
            behind[id(last)].extend(nodes)
            arch.append(name)
            standing.append(nodes)
        previous = layer
    before.gs.nodes[:] = [one for node in before.nodes for one in (node, *behind.get(id(node), ()))]
    return arch, standing


def chosen_twin(
    after: Graph, arch: Sequence[str], standing: Sequence[Sequence[gs.Node] | None]
) -> Graph:
    """Choose ``arch`` in a copy of ``after``; its tensors get the names of those they must equal.

    So the first node that differs is named, not the first block.
    """
    twin = after.copy()
    chosen = candidate_indices(twin.manifest["layers"], arch)
    points = find_choice_points(twin)
    pairs: list[tuple[gs.Tensor, str]] = []
    for point, index, nodes in zip(points, chosen, standing, strict=True):
        region = point.regions[index]
        if nodes is None or len(nodes) != len(region):
            continue
        for one, other in zip(region[:-1], nodes[:-1], strict=True):
            pairs.append((one.outputs[0], other.outputs[0].name))
    choose(twin, arch)
    taken = {t.name for n in twin.nodes for t in [*n.inputs, *n.outputs]}
    for tensor, name in pairs:
        if name not in taken:
            tensor.name = name
            taken.add(name)
    return twin


def check_candidates(graph: Graph) -> None:
    """Raise PassFailedError unless every candidate is the block that its name spells."""
    for point, layer in zip(find_choice_points(graph), graph.manifest["layers"], strict=True):
        for candidate, mul, region in zip(
            layer["candidates"], point.muls, point.regions, strict=True
        ):
            found = _spelling(region)
            if found not in (None, candidate["name"]):
                raise PassFailedError(
                    f"mix: {layer['name']}: candidate {candidate['name']} is a {found}, weighed at "
                    f"node {mul.name}; the order of candidates and of their weights differ"
                )


def _spelling(region: Sequence[gs.Node]) -> str | None:
    if not region:
        return SKIP
    convs = [node for node in region if node.op == "Conv"]
    for conv in convs:
        hidden, per_group, *window = conv.inputs[1].shape
        if per_group == 1 and int(conv.attrs.get("group", 1)) == hidden:
            width = hidden if conv is convs[0] else convs[0].inputs[1].shape[1]
            return candidate_name(int(window[0]), hidden / width)
    return None


def _masked(arrays: MBConvArrays, candidate: Candidate, how: Strategy) -> MBConvArrays:
    """Zero what the candidate drops: taps outside its window, columns of channels it has not."""
    k = int(arrays.depthwise.weight.shape[-1])
    depthwise, project = arrays.depthwise.weight.copy(), arrays.project.weight.copy()
    edge = (k - candidate.kernel) // 2
    if edge > 0:
        inner = np.zeros((k, k), bool)
        inner[edge:-edge, edge:-edge] = True
        depthwise[..., ~inner] = 0
    if candidate.hidden < depthwise.shape[0]:
        gone = np.ones(depthwise.shape[0], bool)
        gone[kept_channels(arrays, candidate.hidden, how)] = False
        project[:, gone] = 0
    return dataclasses.replace(
        arrays,
        depthwise=dataclasses.replace(arrays.depthwise, weight=depthwise),
        project=dataclasses.replace(arrays.project, weight=project),
    )


def _repeated(
    graph: Graph,
    layer: Layer,
    seed: MBConvArrays,
    candidate: Candidate,
    entry: gs.Tensor,
    how: Strategy,
) -> tuple[list[gs.Node], gs.Tensor]:
    """Return the seed's block once more, reading ``entry``, masked; and what it leaves."""
    block = layer.block
    arrays, account = remap_mbconv(
        seed,
        kernel=block.kernel,
        hidden=block.hidden,
        in_channels=block.out_channels,
        how=strategy("fna"),
        rng=np.random.default_rng(0),
    )
    built = build_twin(
        graph,
        block,
        _masked(arrays, candidate, how),
        account,
        entry=entry,
        suffix=f".{layer.name}",
        stride=1,
        residual=True,
    )
    out = block.output
    if not layer.owns_output:
        out = gs.Variable(graph.new_name(f"{block.output.name}.{layer.name}"), np.float32)
    built.nodes[-1].outputs[0] = out
    return built.nodes, out
