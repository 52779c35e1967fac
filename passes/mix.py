"""Mix candidate blocks under architecture parameters: a seed becomes its super network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from .base import Keeps, Pass, Report
from .block_edit import Built, block_arrays, build_twin, new_node, why_not_kernel
from .blocks import find_blocks
from .choice import find_choice_points, set_alphas
from .choose import choose
from .errors import UnsupportedGraphError
from .graph import Graph
from .layer_cost import write_costs
from .strategies import Strategy, remap_mbconv, strategy
from .structure import Block, Stage, Structure, candidate_name

ALPHA_SCALE = 1e-3  # REFERENCE: alphas start at 1e-3 * randn
SKIP = "skip"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One choice at a layer; ``kernel`` and ``hidden`` are 0 for ``skip``."""

    name: str
    kernel: int = 0
    hidden: int = 0


@dataclasses.dataclass(frozen=True)
class Layer:
    """One searchable position: the seed block it is remapped from and its candidates.

    ``seed_choice`` is the candidate that is the seed; ``added`` layers deepen a stage.
    """

    name: str
    stage: int
    block: Block
    candidates: tuple[Candidate, ...]
    seed_choice: str
    added: bool
    owns_output: bool  # its choice point leaves the block's output tensor


@dataclasses.dataclass(frozen=True)
class Mix(Pass):
    """Turn every layer of every searchable stage into a choice point.

    Matches  MBConv blocks in stages that expand (``find_blocks``).
    Changes  each block becomes one of its candidates (kernels x expansions, the seed's own, and
             ``skip`` behind a stage's first layer), mixed under softmax(alpha) (FNA++ Eq. 7); a
             stage deepens to ``depths`` by layers whose seed choice is ``skip``. All candidates
             of a layer are remapped from one seed block: layer i from block min(i, l - 1) (Eq. 1).
             The seed's nodes and tensors keep their names; a choice point takes over the name of
             the block's output. Layers, costs and the seed's choices go into the manifest.
    Keeps    interface. With alphas at the seed's choices, the outputs: checked on every run, and
             so are the larger candidates that the strategy says keep the function.

    kernels, expansions  what the space offers
    depths               layers of each searchable stage, in order; () leaves the seed's depths
    skip                 offer ``skip`` behind the first layer of a stage
    strategy             remapping strategy by name
    seed                 random seed of alphas and of strategies that draw
    """

    name: ClassVar[str] = "mix"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)
    depths: tuple[int, ...] = ()
    skip: bool = True
    strategy: str = "fna"
    seed: int = 0

    def run(self, graph: Graph) -> Report:
        """Mix every searchable layer of ``graph`` in place."""
        report = Report()
        how = strategy(self.strategy)
        points = find_choice_points(graph)
        if points:
            report.left.update({p.sum.name: "it is a choice point already" for p in points})
            return report
        structure = find_blocks(graph)
        report.left.update(structure.left)
        layers = list(self._plan(structure))
        mixer = _Mixer(graph, how, self.seed, report)
        for layer in layers:
            mixer.mix(layer)
        for block in structure.blocks:
            if block.node_name not in report.rewrote and block.node_name not in report.left:
                report.left[block.node_name] = "its stage does not expand (e1); it stays as it is"
        if mixer.regions:
            graph.gs.nodes[:] = mixer.ordered_nodes()
            graph.manifest["role"] = "super"
            graph.manifest["remap"] = self.strategy
            write_costs(graph, mixer.layers, mixer.regions)
        return report

    def plan(self, graph: Graph) -> list[Layer]:
        """Return the layers that the super network of ``graph`` gets, in network order.

        Raises UnsupportedGraphError if ``depths`` does not fit the network.
        """
        return list(self._plan(find_blocks(graph)))

    def must_equal_before(self, after: Graph) -> Iterator[tuple[str, Graph]]:
        """Yield the super network at the seed's choices, and the larger networks it contains."""
        stored = after.manifest.get("layers")
        if not stored:
            return
        seed_arch = [layer["seed_choice"] for layer in stored]
        names = [[c["name"] for c in layer["candidates"]] for layer in stored]
        at = [n.index(choice) for n, choice in zip(names, seed_arch, strict=True)]
        yield "the super network at the seed's choices", set_alphas(after, at)
        how = strategy(self.strategy)
        larger = dict.fromkeys(
            name
            for layer, choice in zip(names, seed_arch, strict=True)
            for name in layer
            if _keeps_function(choice, name, how)
        )
        for name in larger:
            arch = [
                name if name in layer and _keeps_function(choice, name, how) else choice
                for layer, choice in zip(names, seed_arch, strict=True)
            ]
            twin = after.copy()
            choose(twin, arch)
            yield f"{name} wherever it only adds to the seed", twin

    def _plan(self, structure: Structure) -> Iterator[Layer]:
        stages = structure.searchable
        if self.depths and len(self.depths) != len(stages):
            raise UnsupportedGraphError(
                f"mix: depths for {len(self.depths)} stages were given, but the network has "
                f"{len(stages)} stages to search; give as many, or none to keep the seed's"
            )
        depths = self.depths or (0,) * len(stages)
        for stage, wanted in zip(stages, depths, strict=True):
            yield from self._plan_stage(stage, max(wanted, len(stage.blocks)))

    def _plan_stage(self, stage: Stage, depth: int) -> Iterator[Layer]:
        have = len(stage.blocks)
        if depth > have and not self.skip:
            raise UnsupportedGraphError(
                f"mix: stage {stage.index} has {have} blocks and {depth} were asked for without "
                f"skip; the seed would not be in its super network; allow skip, or depth {have}"
            )
        for i in range(depth):
            block = stage.blocks[min(i, have - 1)]
            added = i >= have
            width = block.out_channels if added else block.in_channels
            candidates = self._candidates(block, width, own=not added)
            passes_on = added or (block.stride == 1 and block.in_channels == block.out_channels)
            if self.skip and i > 0 and passes_on:
                candidates.append(Candidate(SKIP))
            yield Layer(
                name=f"stage{stage.index}.layer{i}",
                stage=stage.index,
                block=block,
                candidates=tuple(candidates),
                seed_choice=SKIP if added else block.name,
                added=added,
                owns_output=i == depth - 1 or i < have - 1,
            )

    def _candidates(self, block: Block, width: int, *, own: bool) -> list[Candidate]:
        found = {
            candidate_name(k, e): Candidate(candidate_name(k, e), k, e * width)
            for k in self.kernels
            for e in self.expansions
            if why_not_kernel(block, k) is None
        }
        if own:
            found[block.name] = Candidate(block.name, block.kernel, block.hidden)
        return list(found.values())


class _Mixer:
    """Builds choice points; the graph's node list is put together once at the end."""

    def __init__(self, graph: Graph, how: Strategy, seed: int, report: Report) -> None:
        self.graph = graph
        self.how = how
        self.seed = seed
        self.report = report
        self.layers: list[Layer] = []
        self.regions: list[list[list[gs.Node]]] = []
        self._behind: dict[int, list[gs.Node]] = {}
        self._entry: gs.Tensor | None = None

    def ordered_nodes(self) -> list[gs.Node]:
        """Return all nodes, the new ones behind the block they belong to."""
        return [
            item for node in self.graph.nodes for item in (node, *self._behind.get(id(node), ()))
        ]

    def mix(self, layer: Layer) -> None:
        """Build the choice point of ``layer``; a layer of one candidate stays as it is."""
        block = layer.block
        last_node = block.nodes[-1]
        entry = self._entry if layer.added else block.entry
        assert entry is not None  # an added layer follows one that stands in the seed
        mixed: gs.Tensor = block.output
        if not layer.owns_output:
            mixed = self._variable(f"{block.output.name}.{layer.name}", block.output)
        self._entry = mixed
        if len(layer.candidates) == 1:
            self.report.left[block.node_name] = "the space offers nothing but the block itself"
            last_node.outputs[0] = mixed
            return
        made: list[Built] = []
        for index, candidate in enumerate(layer.candidates):
            if candidate.name == SKIP:
                built = Built([], entry)
            elif candidate.name == layer.seed_choice:
                built = self._keep(block, candidate)
            else:
                draw = np.random.default_rng([self.seed, len(self.regions), index])
                built = self._twin(layer, candidate, entry, draw)
            for node in built.nodes:
                node.metadata["fnac.layer"] = layer.name
                node.metadata["fnac.candidate"] = candidate.name
            made.append(built)
            self.report.initializers.update(built.initializers)
        behind = self._behind.setdefault(id(last_node), [])
        for built, candidate in zip(made, layer.candidates, strict=True):
            if candidate.name != layer.seed_choice:
                behind.extend(built.nodes)
        behind.extend(self._sum(layer, [built.output for built in made], mixed))
        self.layers.append(layer)
        self.regions.append([built.nodes for built in made])
        key = layer.name if layer.added else block.node_name
        self.report.rewrote[key] = f"{layer.name}: {len(made)} candidates"

    def _keep(self, block: Block, candidate: Candidate) -> Built:
        """Make the seed's own block a candidate: the same nodes, another name for its output."""
        output = self._variable(f"{block.output.name}.{candidate.name}", block.output)
        block.nodes[-1].outputs[0] = output
        stored = {
            tensor.name: "copied: the seed's own"
            for unit in block.units
            for tensor in [*unit.conv.inputs[1:], *(unit.bn.inputs[1:] if unit.bn else ())]
            if isinstance(tensor, gs.Constant)
        }
        return Built(list(block.nodes), output, stored)

    def _twin(
        self, layer: Layer, candidate: Candidate, entry: gs.Tensor, rng: np.random.Generator
    ) -> Built:
        block = layer.block
        arrays, account = remap_mbconv(
            block_arrays(block),
            kernel=candidate.kernel,
            hidden=candidate.hidden,
            in_channels=block.out_channels if layer.added else block.in_channels,
            how=self.how,
            rng=rng,
        )
        place = f".{layer.name}" if layer.added else ""
        return build_twin(
            self.graph,
            block,
            arrays,
            account,
            entry=entry,
            suffix=f"{place}.{candidate.name}",
            stride=1 if layer.added else block.stride,
            residual=layer.added or block.residual is not None,
        )

    def _sum(self, layer: Layer, outputs: list[gs.Tensor], mixed: gs.Tensor) -> list[gs.Node]:
        """Return the nodes of Eq. 7, from the alphas to the tensor ``mixed``."""
        name, count, dtype = layer.name, len(outputs), layer.block.depthwise.weight.dtype
        rng = np.random.default_rng([self.seed, len(self.regions)])
        alpha = (ALPHA_SCALE * rng.standard_normal(count)).astype(dtype)
        stored = gs.Constant(self.graph.new_name(f"{name}.alpha"), alpha)
        self.report.initializers[stored.name] = "fresh: 1e-3 * randn"
        p = self._variable(f"{name}.p", None, dtype)
        shares = [self._variable(f"{name}.p{i}", None, dtype) for i in range(count)]
        weighed = [self._variable(f"{name}.m{i}", layer.block.output) for i in range(count)]
        split_inputs: list[gs.Tensor] = [p]
        attrs: dict[str, Any] = {"axis": 0}
        if self.graph.opset >= 13:
            ones = np.ones(count, np.int64)
            split_inputs.append(gs.Constant(self.graph.new_name(f"{name}.sizes"), ones))
        else:
            attrs["split"] = [1] * count
        new_name = self.graph.new_name
        nodes = [
            new_node("Softmax", new_name(f"{name}.softmax"), [stored], [p], {"axis": 0}),
            new_node("Split", new_name(f"{name}.split"), split_inputs, shares, attrs),
        ]
        for i, (out, share, m) in enumerate(zip(outputs, shares, weighed, strict=True)):
            nodes.append(new_node("Mul", new_name(f"{name}.mul{i}"), [out, share], [m]))
        return [*nodes, new_node("Sum", new_name(f"{name}.sum"), weighed, [mixed])]

    def _variable(
        self, name: str, like: gs.Tensor | None, dtype: np.dtype | None = None
    ) -> gs.Variable:
        shape = None if like is None or like.shape is None else list(like.shape)
        return gs.Variable(
            self.graph.new_name(name), dtype=dtype if like is None else like.dtype, shape=shape
        )


def _keeps_function(seed_choice: str, name: str, how: Strategy) -> bool:
    """Say whether candidate ``name`` only adds to the seed's, in a way the strategy preserves."""
    if SKIP in (seed_choice, name) or seed_choice == name:
        return False
    (k0, e0), (k1, e1) = _spelled(seed_choice), _spelled(name)
    return (
        (k1 == k0 or (k1 > k0 and how.keeps_larger_kernel))
        and (e1 == e0 or (e1 > e0 > 1 and how.keeps_wider))
        and not how.fresh
    )


def _spelled(name: str) -> tuple[int, float]:
    kernel, _, expansion = name.removeprefix("k").partition("e")
    return int(kernel), float(expansion)
