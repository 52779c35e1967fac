"""Build the choice points of a super network from its plan."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnx_graphsurgeon as gs

from ..base import Report
from ..blocks.block import Block
from ..blocks.candidate_names import SKIP
from ..blocks.edit import Built, block_arrays, build_twin
from ..graph import Graph
from ..graph.node_maker import new_node
from ..graph.surgery import set_output
from ..grow.grow_depth import silenced
from ..remap.block_arrays import BlockArrays
from ..remap.strategies import Strategy
from .plan import Candidate, Layer

ALPHA_SCALE = 1e-3  # the authors' released code


class Fits(Protocol):
    """Fits a seed's blocks to fewer hidden channels, from the seed's features."""

    def narrowed(self, block: Block, hidden: int) -> tuple[BlockArrays, float] | str:
        """Return the block's arrays with this many hidden channels and the relative error of what
        it leaves, or why it cannot be fitted.
        """


class Mixer:
    """Builds choice points; the graph's node list is assembled once at the end."""

    def __init__(
        self,
        graph: Graph,
        how: Strategy,
        random_seed: int,
        report: Report,
        fits: Fits | None = None,
    ) -> None:
        self.graph = graph
        self.how = how
        self.fits = fits
        self.random_seed = random_seed
        self.report = report
        self.layers: list[Layer] = []
        self.regions: list[list[list[gs.Node]]] = []
        self._behind: dict[int, list[gs.Node]] = {}
        self._entry: gs.Tensor | None = None

    def ordered_nodes(self) -> list[gs.Node]:
        """Return all nodes, the new ones after the block they belong to."""
        return [
            item for node in self.graph.nodes for item in (node, *self._behind.get(id(node), ()))
        ]

    def mix(self, layer: Layer) -> None:
        """Build the choice point of ``layer``; a layer with one candidate stays as it is."""
        block = layer.block
        last_node = block.nodes[-1]
        entry = self._entry if layer.added else block.entry
        assert entry is not None  # an added layer follows one that stands in the seed
        mixed: gs.Tensor = block.output
        if not layer.owns_output:
            mixed = self._variable(f"{block.output.name}.{layer.name}", block.output)
        self._entry = mixed
        key = layer.name if layer.added else block.node_name
        if layer.declined:
            self.report.declined[key] = dict(layer.declined)
        if len(layer.candidates) == 1:
            self.report.left[block.node_name] = "the space offers nothing but the block itself"
            set_output(last_node, mixed)
            return
        candidates: list[Built] = []
        for index, candidate in enumerate(layer.candidates):
            if candidate.name == SKIP:
                built = Built([], entry)
            elif candidate.name == layer.seed_choice:
                built = self._keep(block, candidate)
            else:
                draw = np.random.default_rng([self.random_seed, len(self.regions), index])
                built = self._twin(layer, candidate, entry, draw)
            for node in built.nodes:
                node.metadata["fnac.layer"] = layer.name
                node.metadata["fnac.candidate"] = candidate.name
            candidates.append(built)
            self.report.initializers.update(built.initializers)
        behind = self._behind.setdefault(id(last_node), [])
        for built, candidate in zip(candidates, layer.candidates, strict=True):
            if candidate.name != layer.seed_choice:
                behind.extend(built.nodes)
        behind.extend(self._sum(layer, [built.output for built in candidates], mixed))
        self.layers.append(layer)
        self.regions.append([built.nodes for built in candidates])
        self.report.rewrote[key] = f"{layer.name}: {len(candidates)} candidates"

    def _keep(self, block: Block, candidate: Candidate) -> Built:
        """Make the seed's own block a candidate: the same nodes, another name for its output."""
        output = self._variable(f"{block.output.name}.{candidate.name}", block.output)
        set_output(block.nodes[-1], output)
        stored = {
            tensor.name: "copied: the seed's own"
            for unit in block.units.values()
            for tensor in [*unit.conv.inputs[1:], *(unit.bn.inputs[1:] if unit.bn else ())]
            if isinstance(tensor, gs.Constant)
        }
        return Built(list(block.nodes), output, stored)

    def _twin(
        self, layer: Layer, candidate: Candidate, entry: gs.Tensor, rng: np.random.Generator
    ) -> Built:
        assert candidate.form is not None  # skip is no twin
        block, added = layer.block, layer.added
        form, seed, error = candidate.form, block_arrays(block), None
        if self.fits is not None and form.hidden < block.form.hidden:
            fitted = self.fits.narrowed(block, form.hidden)
            if isinstance(fitted, str):
                self.report.declined.setdefault(block.node_name, {})[f"fit of {candidate.name}"] = (
                    fitted
                )
            else:
                seed, error = fitted
        arrays, account = block.remap(seed, form, added=added, how=self.how, rng=rng)
        if added and self.how.silent and block.why_not_silenced is None:
            arrays = silenced(arrays, block.last)
        if error is not None:
            said = f"fitted, relative error {error:.3g}"
            account = {part: said if w == "copied" else w for part, w in account.items()}
        place = f".{layer.name}" if added else ""
        return build_twin(
            self.graph,
            block,
            arrays,
            account,
            entry=entry,
            suffix=f"{place}.{candidate.name}",
            added=added,
        )

    def _sum(self, layer: Layer, outputs: list[gs.Tensor], mixed: gs.Tensor) -> list[gs.Node]:
        """Return the nodes of Eq. 7, from the alphas to the tensor ``mixed``."""
        name, count, dtype = layer.name, len(outputs), layer.block.dtype
        rng = np.random.default_rng([self.random_seed, len(self.regions)])
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
