"""Exact integer costs of every candidate of a super network, and so of every architecture.

The figures come from the manifest that ``expand`` wrote. A candidate's cost does not depend on its
neighbours (widths and resolutions are fixed by the stage), so that a network costs
``fixed + sum over layers``, head included.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fnac.errors import UnsupportedGraphError, UsageError
from fnac.passes.blocks.candidate_names import SKIP
from fnac.passes.stored_layers import read_layers


@dataclasses.dataclass(frozen=True)
class LayerCosts:
    """The candidates of one layer and what each costs, in candidate order."""

    name: str
    stage: int
    candidates: tuple[str, ...]
    costs: tuple[int, ...]
    seed_choice: str | None = None

    def index(self, choice: str) -> int:
        """Return the position of ``choice``; UsageError names the layer and its candidates."""
        try:
            return self.candidates.index(choice)
        except ValueError:
            raise UsageError(
                f"layer {self.name}: it has no candidate {choice!r}; it offers "
                f"{', '.join(self.candidates)}"
            ) from None


@dataclasses.dataclass(frozen=True)
class SpaceCosts:
    """Costs of a whole search space in ``unit`` (``madds``, ``params`` or latency in ``ns``)."""

    unit: str
    fixed: int
    layers: tuple[LayerCosts, ...]

    def total(self, arch: Sequence[int]) -> int:
        """Return the cost of the whole network with candidate ``arch[k]`` in layer k."""
        return self.fixed + sum(
            layer.costs[choice] for layer, choice in zip(self.layers, arch, strict=True)
        )

    def least(self) -> int:
        """Return the cost of the cheapest network of the space."""
        return self.fixed + sum(min(layer.costs) for layer in self.layers)

    def greatest(self) -> int:
        """Return the cost of the most expensive network of the space."""
        return self.fixed + sum(max(layer.costs) for layer in self.layers)

    def seed_arch(self) -> tuple[int, ...]:
        """Return the seed's own candidates; UsageError if the manifest does not have them."""
        missing = [layer.name for layer in self.layers if layer.seed_choice is None]
        if missing:
            raise UsageError(
                f"layer {missing[0]}: the super network does not say which candidate is "
                "the seed's; name an architecture with --arch FILE or a budget in absolute units"
            )
        return tuple(layer.index(str(layer.seed_choice)) for layer in self.layers)

    def seed_total(self) -> int:
        """Return the cost of the seed with the same head."""
        return self.total(self.seed_arch())

    def expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        """Return the expected cost of the whole network under per-layer ``probabilities``."""
        return self.fixed + math.fsum(
            p * cost
            for layer, row in zip(self.layers, probabilities, strict=True)
            for p, cost in zip(row, layer.costs, strict=True)
        )

    def names(self, arch: Sequence[int]) -> tuple[str, ...]:
        """Return the candidate names of ``arch``."""
        return tuple(
            layer.candidates[choice] for layer, choice in zip(self.layers, arch, strict=True)
        )


def space_costs(manifest: Mapping[str, Any], unit: str = "madds") -> SpaceCosts:
    """Read the costs of a super network from its manifest.

    unit     ``madds`` or ``params``: which of the two figures of a candidate
    raises   UnsupportedGraphError when the file is not a super network with costs
    """
    layers = read_layers(manifest)
    if manifest.get("role") != "super" or not layers:
        raise UnsupportedGraphError(
            f"the file's role is {manifest.get('role', 'unknown')!r}; wanted a super network with "
            "layers to choose from; make one with `fnac expand`"
        )
    fixed = manifest.get(f"fixed_{unit}")
    if fixed is None:
        raise UnsupportedGraphError(
            f"the manifest has no fixed_{unit}: what the super network costs around its layers; "
            "expand the seed again"
        )
    costs = tuple(
        LayerCosts(
            name=layer.name,
            stage=layer.stage,
            candidates=layer.names,
            costs=tuple(one.madds if unit == "madds" else one.params for one in layer.candidates),
            seed_choice=layer.seed_choice,
        )
        for layer in layers
    )
    return SpaceCosts(unit, int(fixed), costs)


def latency_costs(manifest: Mapping[str, Any], table: Mapping[str, Any]) -> SpaceCosts:
    """Read a space's costs from a table of measured latency, in whole nanoseconds.

    table    ``{"fixed_ms": float, "layers": {layer: {candidate: ms}}}``
    raises   UsageError naming the first layer or candidate that the table lacks
    """
    madds = space_costs(manifest)
    layers = []
    for layer in madds.layers:
        row = table.get("layers", {}).get(layer.name, {})
        for candidate in layer.candidates:
            if candidate not in row and candidate != SKIP:
                raise UsageError(
                    f"latency table: no figure for layer {layer.name}, candidate {candidate}; "
                    "measure the table again on this super network"
                )
        costs = tuple(round(1e6 * float(row.get(name, 0.0))) for name in layer.candidates)
        layers.append(dataclasses.replace(layer, costs=costs))
    return SpaceCosts("ns", round(1e6 * float(table.get("fixed_ms", 0.0))), tuple(layers))
