"""What a reader must know before trusting the run, in plain words.

A naive search fails quietly: its alphas stay flat, the cost term alone decides, skips take over and
the target ends far below its budget. Warnings that the run wrote down itself come first; what can
be seen from its files is added where the run said nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from fnac.report.network import Network
from fnac.report.run_folder import RunFolder
from fnac.text import human

FLAT = 0.95  # of the entropy of uniform alphas
LEAST_USE = 0.95  # of the budget
SKIPPED = 0.75  # of the layers that can be skipped
STEERED = 0.03  # how far the expected cost may end from the budget


def warnings_of(run: RunFolder) -> list[str]:
    """List the warnings of a run; [] if there is nothing to warn of."""
    said = _written(run.results)
    found = [
        *_flat_alphas(run.alphas),
        *_skip_collapse(run),
        *_budget(run),
    ]
    topics = " ".join(said).lower()
    said += [text for topic, text in found if topic not in topics]
    return list(dict.fromkeys(said + _ledger(run)))


def alpha_entropies(alphas: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """Mean entropy of the layers' probabilities, and the mean it would have if they were flat."""
    layers = [row for row in alphas.values() if len(row) > 1]
    if not layers:
        return 0.0, 0.0
    entropy = [-sum(p * log(p) for p in row.values() if p > 0) for row in layers]
    return sum(entropy) / len(layers), sum(log(len(row)) for row in layers) / len(layers)


def _written(content: Mapping[str, object]) -> list[str]:
    warnings = content.get("warnings", [])
    return [str(text) for text in warnings] if isinstance(warnings, list) else [str(warnings)]


def _flat_alphas(alphas: Mapping[str, Mapping[str, float]] | None) -> list[tuple[str, str]]:
    if not alphas:
        return []
    entropy, flat = alpha_entropies(alphas)
    if not flat or entropy < FLAT * flat:
        return []
    return [
        (
            "flat",
            f"The alphas stayed flat: their entropy ended at {entropy:.3f}, of {flat:.3f} for a "
            "uniform choice. The data hardly spoke; mostly the cost decided. Search longer or "
            "raise the learning rate of the alphas.",
        )
    ]


def _skip_collapse(run: RunFolder) -> list[tuple[str, str]]:
    network, arch = run.network, run.arch
    if network is None or arch is None:
        return []
    could = [i for i, layer in enumerate(network.layers) if "skip" in layer.names]
    skipped = sum(arch[i] == "skip" for i in could)
    before = sum(network.seed_choices[i] == "skip" for i in could)
    if skipped <= before or skipped < SKIPPED * len(could):
        return []
    return [
        (
            "skip",
            f"The search collapsed into skips: {skipped} of the {len(could)} layers that can be "
            f"skipped are (the seed: {before}). The target is shallow because skipping is cheap, "
            "not because the data asked for it.",
        )
    ]


def _budget(run: RunFolder) -> list[tuple[str, str]]:
    budget = None if run.search is None else run.search.last("budget_madds")
    if run.search is None or not budget:
        return []
    found = []
    expected = run.search.last("expected_madds")
    if expected is not None and abs(expected - budget) > STEERED * budget:
        side = "above" if expected > budget else "below"
        found.append(
            (
                "expected cost",
                f"The expected cost ended at {human(expected)} MAdds, "
                f"{abs(expected / budget - 1):.0%} {side} the budget of {human(budget)}: "
                "the search was not steered to its budget.",
            )
        )
    target = target_madds(run, run.network)
    if target is not None and target > budget:
        found.append(
            (
                "above the budget",
                f"The target costs {human(target)} MAdds, more than its budget of {human(budget)}.",
            )
        )
    elif target is not None and target < LEAST_USE * budget:
        found.append(
            (
                "of its budget",
                f"The target uses only {target / budget:.0%} of its budget ({human(target)} of "
                f"{human(budget)} MAdds): that is a failed search, not a cheap success.",
            )
        )
    return found


def target_madds(run: RunFolder, network: Network | None) -> int | None:
    """The target's MAdds, whole network; None if neither arch nor results say it."""
    if network is not None and run.arch is not None:
        return network.cost(run.arch).madds
    target = run.results.get("target")
    madds = target.get("madds") if isinstance(target, dict) else None
    return int(madds) if isinstance(madds, (int, float)) else None


def _ledger(run: RunFolder) -> list[str]:
    """Passes that nobody held to their promise."""
    ledger = run.ledger or ()
    names = [str(entry.get("pass")) for entry in ledger if entry.get("verdict") == "unverified"]
    if not names:
        return []
    return [f"Not verified (run with --no-verify): {', '.join(dict.fromkeys(names))}."]
