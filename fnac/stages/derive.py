"""``derive``: one candidate kept per layer, within the budget; weights from the super network.

Reads a super network (searched or not), leaves the target. The choice is solved exactly
(``fnac.architectures.solve``) and the target's cost is counted again on its own nodes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fnac.architectures.arch_file import arch_content, load_arch
from fnac.architectures.budget import UNLIMITED, CostLimit, say
from fnac.architectures.costs import SpaceCosts, space_costs
from fnac.architectures.solve import Solution, choose_architecture
from fnac.errors import PassFailedError, UsageError
from fnac.findings import FINDINGS, Finding, read_findings, together, written
from fnac.passes.cost import profile
from fnac.passes.files import write_atomically
from fnac.passes.graph import Graph
from fnac.passes.grow.randomize import Randomize
from fnac.passes.manager import PassManager
from fnac.passes.super_network.choice_points import find_choice_points
from fnac.passes.super_network.choose import Choose
from fnac.search.health import skip_finding, softmax_rows
from fnac.stages.opening.uncounted import tell_uncounted

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DeriveSettings:
    """Settings of the final choice."""

    section: ClassVar[str] = "derive"

    use_at_least: float = 0.95
    """Share of the budget that the choice must use, where some architecture does."""
    weights: Literal["super", "seed", "random"] = "super"
    """Of the searched super network, remapped from the seed (FNA at ICLR 2020), or at random; in an
    adaptation, ``seed`` and ``random`` begin with the head as ``expand`` left it."""
    random_seed: int = 0
    """Of weights at random."""
    verify: bool = True
    """Check the target after it is derived from the super network."""

    def __post_init__(self) -> None:
        if not 0 <= self.use_at_least <= 1:
            raise UsageError(f"use_at_least {self.use_at_least:g}: wanted a share from 0 to 1")


@dataclasses.dataclass(frozen=True)
class DeriveResult:
    """The chosen architecture, its cost (in ``unit``, whole network), and notes."""

    output: Path
    choices: tuple[str, ...]
    unit: str
    cost: int
    budget: int | None
    madds: int
    params: int
    findings: tuple[Finding, ...]
    ledger: list[dict[str, Any]]


def derive(
    model: Path | Graph,
    output: Path,
    settings: DeriveSettings,
    *,
    limit: CostLimit = UNLIMITED,
    arch: Path | Literal["seed"] | None = None,
    unsearched: Path | None = None,
    arch_output: Path | None = None,
) -> DeriveResult:
    """Choose an architecture of the super network ``model`` and write it to ``output``.

    model        the file, or what it holds, which becomes the target then
    limit        its budget: the most probable architecture that costs no more, by the alphas as
                 the task alone moved them (a steered search notes them); without budget and arch,
                 the argmax of every layer
    arch         an architecture file, or the seed's own architecture
    unsearched   the super network as ``expand`` left it: weights for ``weights: seed``, and the
                 head for ``weights: random`` (without it, the head of ``model``)
    arch_output  where ``arch.json`` goes
    raises       UsageError for an impossible budget, an unfit architecture or options that
                 contradict each other
    """
    if limit.budget is not None and arch is not None:
        raise UsageError("--budget and --arch: the one chooses, the other is a choice; give one")
    if settings.weights != "random" and (settings.weights == "seed") != (unsearched is not None):
        raise UsageError(
            "--from seed: wanted together with the super network as expand left it, whose weights "
            "are remapped from the seed"
        )
    graph = model if isinstance(model, Graph) else Graph.load(model)
    space = limit.costs(graph.manifest)
    solution, budget = _choose(graph, space, limit, arch, settings.use_at_least)
    madds, names = space_costs(graph.manifest), space.names(solution.arch)
    for finding in solution.findings:
        logger.warning("derive: %s", finding)
    target = graph if unsearched is None else _same_space(Graph.load(unsearched), graph, unsearched)
    manager = PassManager(verify=settings.verify)
    manager.run([Choose(arch=names)], target)
    if settings.weights == "random":
        manager.run([Randomize(random_seed=settings.random_seed)], target)
    counted = profile(target)
    tell_uncounted(target)
    _check_cost(counted.madds, madds, solution.arch)
    target.manifest["role"] = "target"
    target.manifest[FINDINGS] = written(together(read_findings(graph.manifest), solution.findings))
    target.manifest["arch"] = list(names)
    if arch_output is not None:
        text = json.dumps(arch_content(solution.arch, space), indent=1) + "\n"
        write_atomically(arch_output, text.encode())
    target.save(output)
    logger.info(
        "derive: %s%s", say(solution.cost, space.unit), _of(solution.cost, budget, space.unit)
    )
    return DeriveResult(
        output=output,
        choices=names,
        unit=space.unit,
        cost=solution.cost,
        budget=budget,
        madds=counted.madds,
        params=counted.params,
        findings=solution.findings,
        ledger=[{**entry.as_json(), "stage": "derive"} for entry in manager.ledger],
    )


def _choose(
    graph: Graph,
    space: SpaceCosts,
    limit: CostLimit,
    arch: Path | Literal["seed"] | None,
    use_at_least: float,
) -> tuple[Solution, int | None]:
    if arch is not None:
        chosen = space.seed_arch() if arch == "seed" else load_arch(Path(arch), space)
        return Solution(chosen, space.total(chosen), 0.0, floor_bound=False), None
    budget = limit.within(space)
    alphas = [np.asarray(point.alpha.values) for point in find_choice_points(graph)]
    if [len(row) for row in alphas] != [len(layer.costs) for layer in space.layers]:
        raise UsageError(
            f"the graph has {len(alphas)} choice points; its manifest names {len(space.layers)} "
            "layers with other candidates; expand the seed again"
        )
    by = alphas if budget is None else _led(graph, alphas)
    solution = choose_architecture(by, space, budget, use_at_least=use_at_least)
    skips = skip_finding(softmax_rows(alphas), space, budget, solution.arch)
    if skips is None:
        return solution, budget
    return dataclasses.replace(solution, findings=(skips, *solution.findings)), budget


def _led(graph: Graph, alphas: list[np.ndarray]) -> list[np.ndarray]:
    """Return the alphas without the cost pushes of a steered search.

    Under a budget the constraint takes the place of the cost term: with both, cost would count
    twice, and the choice would stop far below the budget and skip what it could afford.
    """
    led = (graph.manifest.get("search") or {}).get("led")
    if led is None or [len(row) for row in led] != [len(row) for row in alphas]:
        return alphas
    return [np.asarray(row, dtype=np.float64) for row in led]


def _same_space(unsearched: Graph, searched: Graph, path: Path) -> Graph:
    """Return ``unsearched`` if it offers the same candidates in the same layers."""
    if space_costs(unsearched.manifest) != space_costs(searched.manifest):
        raise UsageError(
            f"--from seed: {path} has other layers or candidates than the searched super network; "
            "give the file that the search began with"
        )
    return unsearched


def _check_cost(madds: int, space: SpaceCosts, arch: tuple[int, ...]) -> None:
    if madds != space.total(arch):
        raise PassFailedError(
            f"choose: the target's nodes count {madds} MAdds; the manifest of the super network "
            f"promises {space.total(arch)} for this architecture; this is a bug of expand or choose"
        )


def _of(cost: int, budget: int | None, unit: str) -> str:
    return "" if budget is None else f", {cost / budget:.1%} of the budget of {say(budget, unit)}"
