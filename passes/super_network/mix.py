"""Mix candidate blocks under architecture parameters: a seed becomes its super network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from ..base import Keeps, Pass, Report
from ..blocks.candidate_names import read_name, spell
from ..blocks.find import find_blocks
from ..errors import ArgumentError, UnsupportedGraphError
from ..graph import Graph
from ..remap.strategies import strategy
from ..stored_layers import read_layers, seed_arch
from .choice_points import find_choice_points, set_alphas
from .choose import candidate_indices
from .costs import write_costs
from .mixer import Fits, Mixer
from .plan import Layer, Offer
from .proof import check_candidates, chosen_twin, comparable, references

TABLE_VII = ("k3g1", "k5g2", "k5g4", "k7g4", "k7g8")  # FNA++: candidates of residual blocks

NOT_EXPANDED = "its stage does not expand (e1); it stays as it is"


@dataclasses.dataclass(frozen=True)
class Mix(Pass):
    """Turn every layer of every searchable stage into a choice point.

    Matches  the blocks that ``find_blocks`` finds, from the first stage on that expands.
    Changes  each block becomes one of its candidates (kernels x expansions for MBConv,
             ``candidates`` of its kind, the seed's own, and ``skip`` after a stage's first layer
             where input and output agree), mixed under softmax(alpha) (FNA++ Eq. 7); a
             stage deepens to ``depths`` by layers whose seed choice is ``skip``. All candidates
             of a layer are remapped from one seed block: layer i from block min(i, l - 1) (Eq. 1).
             The seed's nodes and tensors keep their names; a choice point takes over the name of
             the block's output. Layers, costs and the seed's choices go into the manifest.
             Candidates share an expansion that others read as well (SSDLite's head); they then
             vary in the kernel only. A block without expansion (e1) that is offered one gets
             the identity: the candidate computes the block with its activation on what the
             depthwise convolution reads, so it starts near the seed, not equal to it.
    Keeps    interface. With alphas at the seed's choices, the outputs. Every candidate computes
             what its remapping says (:mod:`.proof`); both are checked on every run.

    kernels, expansions  what the space offers to MBConv blocks
    candidates           further candidates by name: ``k5g2`` (kernel, groups) for basic and
                         bottleneck blocks, ``k5e4`` for MBConv, ``kup`` for any (two more than
                         the layer's own kernel); groups that do not divide the channels, or would
                         join the seed's groups, are not offered
    otherwise            candidates of a layer for which the others offer only the seed's own
    depths               layers of each searchable stage, in order; () leaves the seed's depths
    skip                 offer ``skip`` after the first layer of a stage
    strategy             remapping strategy by name
    random_seed          of alphas and of strategies that draw
    fits                 for the strategy ``fit``: fits blocks to fewer hidden channels; not an
                         argument of the command line
    size                 HxW at which candidates are costed, for a file that states none
    """

    name: ClassVar[str] = "mix"
    keeps: ClassVar[Keeps] = Keeps.INTERFACE

    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)
    candidates: tuple[str, ...] = TABLE_VII
    otherwise: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()
    skip: bool = True
    strategy: str = "fna"
    random_seed: int = 0
    size: str = ""
    fits: Fits | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse candidates that are spelled wrongly."""
        for name in (*self.candidates, *self.otherwise):
            read_name(name)

    def run(self, graph: Graph) -> Report:
        """Mix every searchable layer of ``graph`` in place."""
        report = Report()
        how = strategy(self.strategy)
        if how.refits and self.fits is None:
            raise ArgumentError(
                "mix: strategy=fit fits weights to features of images, and there are none; give "
                "images to fnac expand with --data, or take strategy=fna-live"
            )
        points = find_choice_points(graph)
        if points:
            report.left.update({p.sum.name: "it is a choice point already" for p in points})
            return report
        structure = find_blocks(graph)
        report.left.update(structure.left)
        if structure.searchable:
            self._state_size(graph)
        mixer = Mixer(graph, how, self.random_seed, report, self.fits)
        for layer in list(self._offer().layers(structure)):
            mixer.mix(layer)
        for block in structure.blocks:
            if block.node_name not in report.rewrote and block.node_name not in report.left:
                report.left[block.node_name] = NOT_EXPANDED
        if mixer.regions:
            graph.put_nodes(mixer.ordered_nodes())
            graph.manifest["role"] = "super"
            graph.manifest["remap"] = self.strategy
            write_costs(graph, mixer.layers, mixer.regions)
        return report

    def plan(self, graph: Graph) -> list[Layer]:
        """Return the layers that the super network of ``graph`` gets, in network order.

        Raises UnsupportedGraphError if ``depths`` does not fit the network.
        """
        return list(self._offer().layers(find_blocks(graph)))

    def proofs(self, before: Graph, after: Graph) -> Iterator[tuple[str, Graph, Graph]]:
        """Yield the seed in its super network, then each candidate at every layer that offers it.

        Raises PassFailedError if a candidate is not the block that its name spells.
        """
        stored = read_layers(after.manifest)
        if not stored:
            return
        layers = self._choices(before)
        check_candidates(after, layers)
        at = candidate_indices(stored, seed_arch(stored))
        yield "the super network at the seed's choices", before, set_alphas(after, at)
        how = strategy(self.strategy)
        names = dict.fromkeys(
            candidate.name
            for layer in layers
            for candidate in layer.candidates
            if candidate.name != layer.seed_choice and comparable(layer, candidate, how)
        )
        for name in names:
            reference = before.copy()
            arch, standing = references(reference, self._choices(reference), name, how)
            twin = chosen_twin(after, arch, standing)
            yield f"candidate {name} in every layer that has it", reference, twin

    def _offer(self) -> Offer:
        names = [spell(k, expansion=e) for k in self.kernels for e in self.expansions]
        names = list(dict.fromkeys([*names, *self.candidates]))
        return Offer(names, self.depths, self.skip, self.otherwise)

    def _state_size(self, graph: Graph) -> None:
        """Make sure that the size at which candidates are costed is known."""
        if self.size:
            sides = self.size.split("x")
            if len(sides) != 2 or not all(side.isdecimal() for side in sides):
                raise ArgumentError(f"mix: size={self.size}; wanted HxW, e.g. size=224x224")
            graph.manifest["size"] = [int(side) for side in sides]
        elif graph.image_size() is None:
            raise UnsupportedGraphError(
                "mix: the file does not say how large its images are, at which candidates are "
                "costed; give it as mix{size=224x224}"
            )

    def _choices(self, graph: Graph) -> list[Layer]:
        return [layer for layer in self.plan(graph) if len(layer.candidates) > 1]
