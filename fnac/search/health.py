"""Can the search be trusted? Findings on the alphas, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fnac.architectures.budget import say
from fnac.architectures.costs import SpaceCosts
from fnac.findings import Finding
from fnac.passes.blocks.candidate_names import SKIP

FLAT = 0.95  # mean entropy, as a share of the greatest possible, above which nothing was decided
SKIPPED = 0.6  # mean probability of skip where it is offered, above which the search collapsed
SKIPS_CHOSEN = 0.8  # share of these layers that the choice skips, above which it did as well
AGREE = 0.1  # correlation of the two halves' moves, below which the alphas walked at random
LEARNT = 0.98  # loss at the end over that at the beginning, above which nothing was learnt
FEW = 20  # alpha steps below which nothing can have been decided
OFF_BUDGET = 0.03  # distance of the expected cost from the budget, as a share of it


def softmax_rows(alphas: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return softmax of every row in float64."""
    rows = []
    for alpha in alphas:
        row = np.asarray(alpha, dtype=np.float64)
        row = np.exp(row - row.max())
        rows.append(row / row.sum())
    return rows


def normalised_entropy(probabilities: Sequence[np.ndarray]) -> list[float]:
    """Return each layer's entropy over that of a uniform choice: 1 undecided, 0 decided."""
    shares = []
    for row in probabilities:
        p = np.asarray(row, dtype=np.float64)
        if len(p) > 1:
            entropy = -float(np.sum(p * np.log(np.maximum(p, 1e-300))))
            shares.append(entropy / float(np.log(len(p))))
        else:
            shares.append(0.0)
    return shares


def mean_entropy(probabilities: Sequence[np.ndarray]) -> float:
    """Return the mean normalised entropy over the layers that have a choice."""
    shares = [
        share
        for share, row in zip(normalised_entropy(probabilities), probabilities, strict=True)
        if len(row) > 1
    ]
    return float(np.mean(shares)) if shares else 0.0


def search_findings(
    probabilities: Sequence[np.ndarray],
    space: SpaceCosts,
    budget: int | None,
    choice: Sequence[int],
    agreement: float | None = None,
    alpha_steps: int | None = None,
) -> tuple[Finding, ...]:
    """Return findings on the outcome of a search; () if nothing is wrong.

    probabilities  softmax(alpha) of every layer; budget: whole network, in the unit of ``space``
    choice         the candidate that was chosen in every layer
    agreement      correlation of what the two halves of the search did to the alphas
    alpha_steps    how often the alphas were trained
    """
    findings = (
        _undecided(probabilities, agreement, alpha_steps),
        skip_finding(probabilities, space, budget, choice),
        None if budget is None else _off_budget(probabilities, space, budget),
    )
    return tuple(one for one in findings if one is not None)


def learning_finding(losses: Sequence[float]) -> Finding | None:
    """Return the finding that weights learnt nothing; None if they did, or after too few steps.

    losses  of the weight steps, in their order
    """
    part = len(losses) // 10
    if part < 2:
        return None
    start, end = float(np.mean(losses[:part])), float(np.mean(losses[-part:]))
    if end < LEARNT * start:
        return None
    return Finding(
        "no-learning",
        f"the weights learnt nothing: their loss began at {start:.3g} and ended at {end:.3g}, so "
        "the alphas followed noise; lower the learning rate (search.lr), or search for more epochs",
    )


def _undecided(
    probabilities: Sequence[np.ndarray], agreement: float | None, alpha_steps: int | None
) -> Finding | None:
    entropy = mean_entropy(probabilities)
    if entropy > FLAT:
        return Finding(
            "flat-alphas",
            f"the alphas stayed flat: their entropy is {entropy:.1%} of an even choice, so the "
            "choice says little about the task; search for more epochs or raise the alphas' "
            "learning rate",
        )
    if alpha_steps is not None and alpha_steps < FEW:
        return Finding(
            "few-alpha-steps",
            f"the architecture was updated {alpha_steps} time{'s' * (alpha_steps != 1)} only "
            f"({FEW} or more are recommended), so the choice is unreliable; raise search.epochs",
        )
    if agreement is not None and agreement < AGREE:
        return Finding(
            "random-walk",
            "the alphas drifted at random: what the first half of the search did to "
            f"them agrees with the second half by {agreement:+.2f} (1: fully, 0: by chance); take "
            "the choice as hardly better than a random one of this cost; search for more epochs "
            "or with larger batches",
        )
    return None


def skip_finding(
    probabilities: Sequence[np.ndarray],
    space: SpaceCosts,
    budget: int | None,
    choice: Sequence[int],
) -> Finding | None:
    """Return the finding that skips took over, in alphas or choice; None if they did not."""
    skippable = [
        (
            float(row[layer.candidates.index(SKIP)]),
            layer.candidates[chosen] == SKIP,
            layer.seed_choice == SKIP,
        )
        for row, layer, chosen in zip(probabilities, space.layers, choice, strict=True)
        if SKIP in layer.candidates
    ]
    if len(skippable) < 2:
        return None
    mean = float(np.mean([p for p, _, _ in skippable]))
    skips = sum(skipped for _, skipped, _ in skippable)
    of_seed = sum(skipped for _, _, skipped in skippable)
    collapsed = skips > SKIPS_CHOSEN * len(skippable) and skips > of_seed
    if mean <= SKIPPED and not collapsed:
        return None
    todo = "lower lambda" if budget is None else "lower lambda, raise the budget"
    return Finding(
        "skips",
        f"the search collapsed into skips: skip has a probability of {mean:.0%} on average "
        f"and is chosen in {skips} of the {len(skippable)} layers that offer it (the seed: "
        f"{of_seed}); {todo} or search for more epochs",
    )


def _off_budget(
    probabilities: Sequence[np.ndarray], space: SpaceCosts, budget: int
) -> Finding | None:
    expected = space.expected([list(map(float, row)) for row in probabilities])
    reachable = min(budget, space.greatest())
    if abs(expected - reachable) <= OFF_BUDGET * reachable:
        return None
    side = "below" if expected < reachable else "above"
    return Finding(
        "off-budget",
        f"the expected cost ended {abs(expected / reachable - 1):.1%} {side} the budget "
        f"({say(expected, space.unit)}; wanted {say(reachable, space.unit)}); give the "
        "search more alpha steps or leave lambda to be steered",
    )
