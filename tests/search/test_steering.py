"""Steering lambda to a budget, sampling paths, judging the outcome."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from fnac.architectures.costs import LayerCosts, SpaceCosts
from fnac.architectures.solve import choose_architecture
from fnac.search.health import (
    learning_finding,
    mean_entropy,
    search_findings,
    skip_finding,
    softmax_rows,
)
from fnac.search.sampler import PathSampler
from fnac.search.steering import Steering, cost_term, expected_searchable


def mobile_space() -> SpaceCosts:
    """A space shaped like the paper's: 25 layers, kernels 3/5/7, expansions 3/6, skips."""
    layers = []
    for stage, (depth, unit) in enumerate(zip((4, 4, 6, 6, 4, 1), (97, 53, 61, 89, 71, 113))):
        for position in range(depth):
            names = [f"k{k}e{e}" for k in (3, 5, 7) for e in (3, 6)]
            costs = [unit * 10**6 * e + k * k * e * 10**6 for k in (3, 5, 7) for e in (3, 6)]
            if position:
                names, costs = [*names, "skip"], [*costs, 0]
            layers.append(
                LayerCosts(f"{stage}.{position}", stage, tuple(names), tuple(costs), "k3e6")
            )
    return SpaceCosts("madds", 6 * 10**9, tuple(layers))


def search(
    space: SpaceCosts,
    budget: int,
    steps: int,
    *,
    noise: float,
    signal: float = 1.0,
    bias: float = 0.0,
    seed: int = 0,
) -> tuple[list[torch.Tensor], list[np.ndarray], list[float]]:
    """Search with made-up task gradients: -merit * p, plus noise; ``bias`` loves dear candidates.

    Returns alphas, the merit of every candidate and lambda at every step.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    merits = [signal * rng.standard_normal(len(row.costs)) for row in space.layers]
    merits = [
        merit + bias * np.array(row.costs) / max(row.costs)
        for merit, row in zip(merits, space.layers)
    ]
    alphas = [
        (1e-3 * torch.randn(len(row.costs), generator=generator)).requires_grad_()
        for row in space.layers
    ]
    lr = 4.0 / steps
    adam = torch.optim.Adam(alphas, lr=lr, betas=(0.5, 0.999), weight_decay=1e-3)
    start = space.expected([row.tolist() for row in softmax_rows([a.detach() for a in alphas])])
    steering = Steering(space, budget, start=start, steps=steps)
    lambdas = []
    for step in range(steps):
        for alpha, merit in zip(alphas, merits):
            p = torch.softmax(alpha.detach(), 0)
            m = torch.tensor(merit, dtype=torch.float32)
            gradient = -p * (m - (p * m).sum())
            alpha.grad = gradient + noise * torch.randn(len(m), generator=generator) / len(m)
        adam.step()
        push = steering.push([a.detach().numpy() for a in alphas], step, lr)
        with torch.no_grad():
            for alpha, shift in zip(alphas, push.shifts):
                alpha += torch.from_numpy(shift).float()
        lambdas.append(push.lambda_)
    return alphas, merits, lambdas


def expected(space: SpaceCosts, alphas: list[torch.Tensor]) -> float:
    return space.expected([row.tolist() for row in softmax_rows([a.detach() for a in alphas])])


CASES = [
    *itertools.product([40], [0.6, 1.0, 1.15], [-2.0, 2.0]),
    (176, 0.6, 0.0),
    (176, 0.8, 2.0),
    pytest.param(2000, 0.6, 2.0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("steps", "share", "bias"), CASES)
def test_the_expected_cost_ends_within_3_percent_of_the_budget(
    steps: int, share: float, bias: float
) -> None:
    space = mobile_space()
    budget = int(share * space.seed_total())
    assert space.least() < budget < space.greatest()
    alphas, _, _ = search(space, budget, steps, noise=2.0, bias=bias)
    assert expected(space, alphas) == pytest.approx(budget, rel=0.03)


def test_lambda_takes_the_sign_that_the_budget_needs() -> None:
    space = mobile_space()
    uniform = space.expected([[1 / len(row.costs)] * len(row.costs) for row in space.layers])
    for budget, sign in ((0.7 * uniform, 1), (1.3 * uniform, -1)):
        _, _, lambdas = search(space, int(budget), 100, noise=0.1)
        assert math.copysign(1, float(np.mean(lambdas[:50]))) == sign


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_the_task_still_orders_the_candidates(share: float) -> None:
    """Among candidates of one cost, and in merit of the whole choice, the task decides."""
    space = mobile_space()
    budget = int(share * space.seed_total())
    alphas, merits, _ = search(space, budget, 150, noise=1.0)
    solution = choose_architecture([a.detach().numpy() for a in alphas], space, budget)
    best = choose_architecture(merits, space, budget)
    worth = [sum(float(m[a]) for m, a in zip(merits, arch)) for arch in (solution.arch, best.arch)]
    assert worth[0] > 0.9 * worth[1]
    assert 0.95 * budget <= solution.cost <= budget


def test_without_steering_the_same_search_misses_the_budget() -> None:
    """The tests above can fail: left alone, the alphas go where the task pulls them."""
    space = mobile_space()
    alphas, _, _ = search(space, 10 * space.greatest(), 40, noise=2.0, bias=2.0)
    assert expected(space, alphas) > 1.1 * space.seed_total()


def test_the_push_does_not_reorder_architectures_of_one_cost() -> None:
    space = SpaceCosts(
        "madds",
        0,
        (LayerCosts("a", 0, ("x", "y"), (10, 30)), LayerCosts("b", 0, ("x", "y"), (30, 10))),
    )
    alphas = [np.array([0.3, 0.0]), np.array([0.1, 0.0])]
    before = alphas[0] - alphas[0][::-1], alphas[1] - alphas[1][::-1]
    push = Steering(space, 30, start=40.0, steps=4).push(alphas, 3, 1.0)
    moved = [alpha + shift for alpha, shift in zip(alphas, push.shifts)]
    assert push.expected == pytest.approx(30.0)
    # (x, x) and (y, y) both cost 40
    gap = (moved[0][0] + moved[1][0]) - (moved[0][1] + moved[1][1])
    assert gap == pytest.approx(before[0][0] + before[1][0])


def test_a_budget_above_the_dearest_network_is_not_steered_to() -> None:
    space = mobile_space()
    steering = Steering(space, 2 * space.greatest(), start=1.0, steps=10)
    push = steering.push([np.zeros(len(row.costs)) for row in space.layers], 0, 0.1)
    assert push.lambda_ == 0.0
    assert all(not shift.any() for shift in push.shifts)


def test_the_cost_term_is_that_of_the_paper() -> None:
    """4.867125 B under uniform alphas is the mean; here on two layers by hand."""
    alphas = [torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    costs = [torch.tensor([1e9, 3e9]), torch.tensor([0.0, 3e9, 6e9])]
    assert expected_searchable(alphas, costs).item() == pytest.approx(5e9)
    term = cost_term(alphas, costs)
    assert term.item() == pytest.approx(math.log10(5.0))
    term.backward()
    assert alphas[0].grad is not None
    # p (c - mean) / (E ln 10)
    assert alphas[0].grad.tolist() == pytest.approx(
        [0.5 * -1 / (5 * math.log(10)), 0.5 * 1 / (5 * math.log(10))]
    )


def test_sampling_is_repeatable_and_continues_from_its_state() -> None:
    alphas = [torch.randn(7) for _ in range(25)]
    one, two = PathSampler(3), PathSampler(3)
    torch.rand(5)  # other draws do not matter
    assert [one.multinomial(alphas) for _ in range(5)] == [
        two.multinomial(alphas) for _ in range(5)
    ]
    state = one.state_dict()
    drawn = (one.uniform([7] * 25), one.pairs(alphas), one.gumbel([3, 4]))
    two = PathSampler(99)
    two.load_state_dict(state)
    again = (two.uniform([7] * 25), two.pairs(alphas), two.gumbel([3, 4]))
    assert drawn[:2] == again[:2]
    assert all(torch.equal(a, b) for a, b in zip(drawn[2], again[2]))
    assert PathSampler(4).uniform([7] * 25) != PathSampler(3).uniform([7] * 25)


def test_paths_follow_softmax_of_alpha() -> None:
    sampler = PathSampler(0)
    alpha = torch.log(torch.tensor([0.7, 0.2, 0.1]))
    counts = np.bincount([sampler.multinomial([alpha])[0] for _ in range(2000)], minlength=3)
    assert counts / 2000 == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    counts = np.bincount([sampler.uniform([3])[0] for _ in range(2000)], minlength=3)
    assert counts / 2000 == pytest.approx([1 / 3] * 3, abs=0.04)
    assert all(a != b for ((a, b),) in (sampler.pairs([alpha]) for _ in range(200)))
    assert sampler.pairs([torch.tensor([100.0, 0.0, 0.0]), torch.zeros(1)])[1] == (0, 0)


def test_weights_that_learnt_nothing_are_reported() -> None:
    falling = [2.0 - 0.01 * step for step in range(40)]
    assert learning_finding(falling) is None
    assert learning_finding(falling[::-1][:19]) is None  # too few steps to say so
    found = learning_finding(falling[::-1])
    assert found is not None
    assert "began at 1.62 and ended at 1.99" in str(found)


def test_flat_alphas_are_reported() -> None:
    space = mobile_space()
    flat = softmax_rows([np.zeros(len(row.costs)) for row in space.layers])
    assert mean_entropy(flat) == pytest.approx(1.0)
    (found,) = search_findings(flat, space, None, space.seed_arch())
    assert found.kind == "flat-alphas"
    assert found.text.startswith("the alphas stayed flat: their entropy is 100.0%")


def test_alphas_that_walked_at_random_are_reported() -> None:
    space = mobile_space()
    decided = softmax_rows([3.0 * np.eye(len(row.costs))[1] for row in space.layers])
    assert search_findings(decided, space, None, space.seed_arch(), 0.4) == ()
    (found,) = search_findings(decided, space, None, space.seed_arch(), 0.4, 2)
    assert found.kind == "few-alpha-steps"
    assert found.text.startswith("the architecture was updated 2 times only (20 or more")
    (found,) = search_findings(decided, space, None, space.seed_arch(), 0.02, 40)
    assert found.kind == "random-walk"
    assert "agrees with the second half by +0.02" in found.text


def test_a_collapse_into_skips_and_a_missed_budget_are_reported() -> None:
    space = mobile_space()
    skips = softmax_rows([5.0 * np.eye(len(row.costs))[-1] for row in space.layers])
    chosen = [int(row.argmax()) for row in skips]
    found = search_findings(skips, space, space.seed_total(), chosen)
    assert [one.kind for one in found] == ["skips", "off-budget"]
    assert found[0].text.startswith("the search collapsed into skips: ")
    own = sum(layer.seed_choice == "skip" for layer in space.layers)
    assert f"chosen in 19 of the 19 layers that offer it (the seed: {own})" in found[0].text
    assert "below the budget" in found[1].text


def test_skips_that_the_seed_has_itself_are_no_collapse() -> None:
    """A space that deepens a network offers places that the seed leaves out."""
    space = mobile_space()
    all_skip = [len(row.candidates) - 1 for row in space.layers]
    rows = tuple(dataclasses.replace(row, seed_choice="skip") for row in space.layers)
    seeded = dataclasses.replace(space, layers=rows)
    even = softmax_rows([np.zeros(len(row.costs)) for row in space.layers])
    assert skip_finding(even, seeded, None, all_skip) is None
    assert skip_finding(even, space, None, all_skip) is not None


def test_a_sound_search_has_no_findings() -> None:
    space = mobile_space()
    seed = softmax_rows([8.0 * np.eye(len(row.costs))[1] for row in space.layers])
    assert search_findings(seed, space, space.seed_total(), space.seed_arch()) == ()
