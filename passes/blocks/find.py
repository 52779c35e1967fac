"""Find the blocks and stages of a network by pattern, never by name.

A *block* is a single-entry single-exit region with its residual add, a *stage* is a run of blocks
of one output stride and width. A kind of block is one function in :data:`PATTERNS`: it gets a
convolution that may be the block's heart and returns the block, or says why it is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import onnx_graphsurgeon as gs

from ..decisions import Left
from ..graph import Graph
from ..graph.convolution import Conv
from .block import Block
from .kinds.fused import match_fused
from .kinds.mbconv_pattern import match_mbconv
from .kinds.plain import match_plain
from .kinds.region import KIND as REGION
from .kinds.region import match_region
from .kinds.residual_pattern import match_residual
from .structure import Stage, Structure
from .tensor_strides import tensor_strides
from .units import ConvUnit, find_units, why_not_stored

Pattern = Callable[[Graph, Mapping[int, ConvUnit], gs.Node], "Block | Left | None"]

PATTERNS: tuple[Pattern, ...] = (match_mbconv, match_residual, match_fused)
GROUPS: tuple[tuple[Pattern, ...], ...] = (PATTERNS, (match_region,))  # a group for what is left
ALONE: tuple[tuple[Pattern, ...], ...] = ((match_region,), (match_plain,))
"""Where no block of ``PATTERNS`` is to be searched: what is in no region is taken by itself."""


def find_blocks(graph: Graph, *, alone: bool = True) -> Structure:
    """Return the stages and blocks of ``graph``, and why each other convolution is in none.

    alone  where nothing but residual regions is found to be searched, take each convolution
           outside of them by itself

    Nodes of a task's head (metadata ``fnac.part`` = ``head``) are not looked at.
    """
    units = find_units(graph)
    structure = _blocks_of(graph, units, GROUPS)
    if alone and not any(b.opens_search and b.kind != REGION for b in structure.blocks):
        by_itself = _blocks_of(graph, units, ALONE)
        if by_itself.blocks or not structure.blocks:
            return by_itself
    return structure


def _blocks_of(
    graph: Graph, units: Mapping[int, ConvUnit], groups: tuple[tuple[Pattern, ...], ...]
) -> Structure:
    """Look for blocks, group by group of patterns, in what no earlier group has found."""
    place = {id(node): i for i, node in enumerate(graph.nodes)}
    blocks: list[Block] = []
    left: dict[str, str] = {}
    for patterns in groups:
        before = dict(left)
        taken = {id(node): block for block in blocks for node in block.nodes}
        matches: list[Block] = []
        for node in graph.nodes:
            if node.op != "Conv" or id(node) in taken:
                continue
            if node.metadata.get("fnac.part") == "head":
                left[node.name] = "it is part of the head"
                continue
            for pattern in patterns:
                match = pattern(graph, units, node)
                if isinstance(match, Block):
                    why_not = _why_not_its_own(match) or _why_not_apart(match, taken)
                    match = match if why_not is None else Left(why_not)
                if isinstance(match, Block):
                    inner = sorted(match.nodes, key=lambda node: place[id(node)])
                    matches.append(dataclasses.replace(match, nodes=tuple(inner)))
                    break
                if match is not None:  # what an earlier group said is the nearer reason
                    left[node.name] = before.get(node.name, match.why)
        for match in sorted(matches, key=lambda match: len(match.nodes)):
            why_not = _why_not_apart(match, taken)  # the shortcuts of a U-Net lie in each other
            if why_not is None:
                blocks.append(match)
                taken |= {id(node): match for node in match.nodes}
            else:
                left[match.node_name] = before.get(match.node_name, why_not)
    blocks.sort(key=lambda block: place[id(block.nodes[-1])])
    inside = {id(node) for block in blocks for node in block.nodes}
    for node in graph.nodes:
        if id(node) in inside:
            left.pop(node.name, None)
        elif node.op == "Conv" and node.name not in left:
            left[node.name] = _why_not_in_a_block(node)
    return Structure(_stages(blocks, tensor_strides(graph)), left)


def _stages(blocks: list[Block], strides: Mapping[int, float]) -> tuple[Stage, ...]:
    runs: list[list[Block]] = []
    for block in blocks:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and last.output is block.reads
            and _key(last, strides) == _key(block, strides)
        ):
            runs[-1].append(block)
        else:
            runs.append([block])
    return tuple(
        Stage(i, tuple(run), strides.get(id(run[0].output), 0), run[0].out_channels)
        for i, run in enumerate(runs)
    )


def _key(block: Block, strides: Mapping[int, float]) -> tuple[float | None, int]:
    return strides.get(id(block.output)), block.out_channels


def _why_not_its_own(block: Block) -> str | None:
    inside = {id(node) for node in block.nodes}
    for unit in block.units.values():
        stored = [*unit.conv.inputs[1:], *(unit.bn.inputs[1:] if unit.bn is not None else ())]
        for tensor in stored:
            for reader in tensor.outputs:
                if id(reader) not in inside and isinstance(tensor, gs.Constant):
                    return f"its weights are shared with {reader.name}"
    return None


def _why_not_apart(block: Block, taken: Mapping[int, Block]) -> str | None:
    for node in block.nodes:
        if id(node) in taken:
            return f"its residual holds the block of {taken[id(node)].node_name}"
    return None


def _why_not_in_a_block(conv: gs.Node) -> str:
    why = why_not_stored(conv)
    if why is not None:
        return why
    window = "x".join(str(d) for d in conv.inputs[1].shape[2:])
    groups = Conv(conv).groups
    split = f" in {groups} groups" if groups > 1 else ""
    if set(conv.inputs[1].shape[2:]) == {1}:
        return f"{window} convolution{split}: no window to grow, and others read its channels"
    return f"{window} convolution{split}: not part of a residual or inverted-residual block"
