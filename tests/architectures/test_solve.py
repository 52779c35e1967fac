"""Budgets, the exact choice, architecture files."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnac.architectures.arch_file import arch_content, load_arch, parse_arch
from fnac.architectures.budget import Budget, budget_costs, parse_budget
from fnac.architectures.costs import LayerCosts, SpaceCosts, space_costs
from fnac.architectures.random_choice import random_architecture
from fnac.architectures.solve import choose_architecture, log_softmax, maximise
from fnac.errors import FnacError, UnsupportedGraphError, UsageError
from fnac.findings import Finding


def manifest() -> dict[str, Any]:
    def candidate(name: str, madds: int, params: int) -> dict[str, Any]:
        return {"name": name, "madds": madds, "params": params}

    return {
        "role": "super",
        "fixed_madds": 1000,
        "fixed_params": 10,
        "layers": [
            {
                "name": "s1.l1",
                "stage": 1,
                "candidates": [candidate("k3e3", 300, 5), candidate("k3e6", 600, 8)],
                "seed_choice": "k3e6",
            },
            {
                "name": "s1.l2",
                "stage": 1,
                "candidates": [
                    candidate("k3e3", 310, 5),
                    candidate("k3e6", 620, 8),
                    candidate("skip", 0, 0),
                ],
                "seed_choice": "k3e3",
            },
        ],
    }


@pytest.fixture
def space() -> SpaceCosts:
    return space_costs(manifest())


def brute_force(
    scores: list[np.ndarray], costs: list[list[int]], most: int | None, least: int | None
) -> float | None:
    best: float | None = None
    for arch in itertools.product(*(range(len(row)) for row in costs)):
        cost = sum(row[a] for row, a in zip(costs, arch))
        if (most is not None and cost > most) or (least is not None and cost < least):
            continue
        score = math.fsum(float(row[a]) for row, a in zip(scores, arch))
        best = score if best is None else max(best, score)
    return best


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_the_choice_is_the_best_of_all(data: st.DataObject) -> None:
    layers = data.draw(st.integers(1, 5))
    sizes = [data.draw(st.integers(1, 5)) for _ in range(layers)]
    seed = data.draw(st.integers(0, 2**32 - 1))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 30.0]))
    # Costs near 1e10 with no common divisor: neighbours differ by less than HiGHS's tolerance.
    size = data.draw(st.sampled_from([5, 1000, 10**10]))
    generator = np.random.default_rng(seed)
    scores = [log_softmax(scale * generator.standard_normal(n)) for n in sizes]
    costs = [[int(c) for c in generator.integers(0, size, n)] for n in sizes]
    least_cost, most_cost = sum(map(min, costs)), sum(map(max, costs))
    most = data.draw(st.none() | st.integers(least_cost - 1, most_cost + 1))
    least = data.draw(st.none() | st.integers(least_cost - 1, most_cost + 1))
    found = maximise(scores, costs, most=most, least=least)
    best = brute_force(scores, costs, most, least)
    if best is None:
        assert found is None
        return
    assert found is not None
    cost = sum(row[a] for row, a in zip(costs, found))
    assert most is None or cost <= most
    assert least is None or cost >= least
    score = math.fsum(float(row[a]) for row, a in zip(scores, found))
    assert best - score <= 1e-9 * max(1.0, abs(best))


def test_a_budget_met_to_the_last_unit_is_used_and_one_less_is_not() -> None:
    costs = [[10**10 + 1, 7], [3 * 10**9 + 2, 5]]
    scores = [np.log([0.9, 0.1]), np.log([0.9, 0.1])]
    whole = 13 * 10**9 + 3
    assert maximise(scores, costs, most=whole) == (0, 0)
    assert maximise(scores, costs, most=whole - 1) != (0, 0)
    assert maximise(scores, costs, least=whole) == (0, 0)
    assert maximise(scores, costs, least=whole + 1) is None


def test_a_space_as_large_as_the_papers_is_solved(benchmark_space: SpaceCosts) -> None:
    generator = np.random.default_rng(0)
    alphas = [1e-3 * generator.standard_normal(len(row.costs)) for row in benchmark_space.layers]
    budget = (benchmark_space.least() + benchmark_space.greatest()) // 2
    solution = choose_architecture(alphas, benchmark_space, budget)
    assert 0.95 * budget <= solution.cost <= budget
    assert solution.cost == benchmark_space.total(solution.arch)


@pytest.fixture
def benchmark_space() -> SpaceCosts:
    layers = []
    for stage, (depth, unit) in enumerate(zip((4, 4, 6, 6, 4, 1), (97, 53, 61, 89, 71, 113))):
        for position in range(depth):
            names = [f"k{k}e{e}" for k in (3, 5, 7) for e in (3, 6)]
            costs = [unit * 10**6 * e + k * k * e * 1013 for k in (3, 5, 7) for e in (3, 6)]
            if position:
                names, costs = [*names, "skip"], [*costs, 0]
            layers.append(LayerCosts(f"{stage}.{position}", stage, tuple(names), tuple(costs)))
    return SpaceCosts("madds", 10**9 + 7, tuple(layers))


def test_the_floor_binds_only_where_the_alphas_would_waste_the_budget(space: SpaceCosts) -> None:
    cheap = [np.array([3.0, 0.0]), np.array([0.0, 0.0, 3.0])]
    free = choose_architecture(cheap, space, 2220, use_at_least=0.0)
    assert (space.names(free.arch), free.cost, free.floor_bound) == (("k3e3", "skip"), 1300, False)
    held = choose_architecture(cheap, space, 2220)
    assert held.cost == 2220
    assert held.floor_bound
    assert held.findings == (
        Finding(
            "held-to-budget",
            "the alphas alone would have used 58.6% of the budget; the choice was held to at least "
            "95% of it and uses 100.0%",
        ),
    )
    rich = choose_architecture([np.array([0.0, 3.0]), np.array([0.0, 3.0, 0.0])], space, 2220)
    assert not rich.floor_bound
    above = choose_architecture(cheap, space, 9999)
    assert not above.floor_bound
    assert above.findings[0].text.startswith(
        "the budget lies above the largest network of this space, "
    )
    between = choose_architecture(cheap, space, 1400)
    assert not between.floor_bound
    assert "no network of this space costs between 95% and 100% of it" in between.findings[0].text


def test_without_a_budget_every_layer_takes_its_argmax(space: SpaceCosts) -> None:
    solution = choose_architecture([np.array([0.0, 3.0]), np.array([0.0, 3.0, 0.0])], space, None)
    assert space.names(solution.arch) == ("k3e6", "k3e6")


@pytest.mark.parametrize(
    ("text", "of", "amount", "relative"),
    [
        ("24.2G", "madds", Fraction(24_200_000_000), False),
        ("1234567", "madds", Fraction(1234567), False),
        ("0.9x", "madds", Fraction(9, 10), True),
        ("90%", "params", Fraction(9, 10), True),
        ("2.4M", "params", Fraction(2_400_000), False),
        ("2.4m", "params", Fraction(2_400_000), False),
        ("12ms", "latency", Fraction(12_000_000), False),
    ],
)
def test_budgets_are_read_exactly(text: str, of: str, amount: Fraction, relative: bool) -> None:
    assert parse_budget(text, of) == Budget(text, of, amount, relative)


@pytest.mark.parametrize(
    ("text", "of", "message"),
    [
        ("fast", "madds", "--budget fast: wanted a number with"),
        ("-1G", "madds", "--budget -1G: wanted a number with"),
        ("0x", "madds", "--budget 0x: must be above zero"),
        ("12ms", "madds", "--budget 12ms: a time needs --budget-of latency; found madds"),
        ("2G", "latency", "--budget 2G: --budget-of latency wants milliseconds"),
        ("1x", "joules", "--budget-of joules: wanted one of madds, params, latency"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(text: str, of: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_budget(text, of)
    assert str(error.value).startswith(message)
    assert error.value.exit_code == 2


def test_budgets_refer_to_the_whole_seed(space: SpaceCosts) -> None:
    assert space.seed_total() == 1000 + 600 + 310
    assert parse_budget("1x").resolve(space) == 1910
    assert parse_budget("0.9x").resolve(space) == 1719
    assert parse_budget("70%", "params").resolve(space_costs(manifest(), "params")) == 16
    assert space.least() == 1300


def test_an_impossible_budget_names_the_least_reachable_cost(space: SpaceCosts) -> None:
    with pytest.raises(UsageError) as error:
        parse_budget("0.5x").resolve(space)
    assert str(error.value) == (
        "--budget 0.5x: that is 955 MAdds for the whole network, head included; the least this "
        "search space can reach is 1.30K MAdds; ask for at least 1.3K"
    )
    assert parse_budget("1.3K").resolve(space) == space.least()


def test_a_latency_budget_needs_and_uses_a_table() -> None:
    with pytest.raises(UsageError, match="--budget-of latency: no measured latency"):
        budget_costs(manifest(), "latency")
    table: dict[str, Any] = {
        "fixed_ms": 5.0,
        "layers": {"s1.l1": {"k3e3": 1.0, "k3e6": 2.0}, "s1.l2": {"k3e3": 1.5, "k3e6": 2.5}},
    }
    costs = budget_costs(manifest(), "latency", table)
    assert costs.seed_total() == 8_500_000
    with pytest.raises(UsageError, match=r"the least .* is 6ms; ask for at least 6ms"):
        parse_budget("3ms", "latency").resolve(costs)
    del table["layers"]["s1.l2"]["k3e6"]
    with pytest.raises(UsageError, match=r"no figure for layer s1\.l2, candidate k3e6"):
        budget_costs(manifest(), "latency", table)


def test_only_a_super_network_has_costs() -> None:
    with pytest.raises(UnsupportedGraphError, match="role is 'seed'; wanted a super network"):
        space_costs({"role": "seed"})


def test_architectures_are_read_in_both_forms(space: SpaceCosts, tmp_path: Path) -> None:
    assert parse_arch({"layers": ["k3e6", "skip"]}).indices(space.layers) == (1, 2)
    assert parse_arch(["k3e6", "skip"]).indices(space.layers) == (1, 2)
    content = arch_content((1, 2), space)
    assert content["layers"][1] == {"name": "s1.l2", "choice": "skip"}
    content["layers"].reverse()
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(content))
    assert load_arch(path, space) == (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["k3e6"], "found 1 layers; the super network has 2; give one choice for each"),
        (["skip", "skip"], "layer s1.l1: it has no candidate 'skip'; it offers k3e3, k3e6"),
        (["k9e6", "skip"], "layer s1.l1: it has no candidate 'k9e6'; it offers k3e3, k3e6"),
        ({"arch": []}, "found no list of layers; wanted"),
        ([1, 2], "an entry is neither a choice nor a name with a choice"),
        ([{"name": "x", "choice": "skip"}], "layer 'x': the super network has no such layer"),
        ([{"name": "s1.l2", "choice": "skip"}] * 2, "layer 's1.l2': named twice"),
    ],
)
def test_a_wrong_architecture_is_named(content: Any, message: str, space: SpaceCosts) -> None:
    with pytest.raises(UsageError) as error:
        parse_arch(content).indices(space.layers)
    assert str(error.value).startswith(message)


def test_a_broken_architecture_file_is_named(space: SpaceCosts, tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    with pytest.raises(FnacError, match=r"arch\.json: cannot be read"):
        load_arch(path, space)
    path.write_text("{")
    with pytest.raises(FnacError, match=r"arch\.json: not JSON"):
        load_arch(path, space)


def test_random_architectures_meet_the_budget_and_differ(benchmark_space: SpaceCosts) -> None:
    budget = (benchmark_space.least() + benchmark_space.greatest()) // 2
    archs = {random_architecture(benchmark_space, budget, random_seed=seed) for seed in range(6)}
    assert len(archs) == 6
    for arch in archs:
        assert 0.95 * budget <= benchmark_space.total(arch) <= budget
    assert random_architecture(benchmark_space, budget, random_seed=1) in archs


@pytest.mark.parametrize("text", ["0.9", "1", "2"])
def test_a_share_without_its_x_is_named(text: str) -> None:
    """0.9 would be less than one multiply-add; nothing that small is ever meant."""
    with pytest.raises(UsageError, match=f"--budget {text}: .*; a share is {text}x"):
        parse_budget(text)
    assert parse_budget(f"{text}x").relative
