"""What a metric hides: a network that predicts one class only, classes without a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fnac.findings import Finding

NAMED = 8
"""Names in a sentence."""


def class_findings(
    names: Sequence[str], said: Tensor, true: Tensor, what: str
) -> tuple[Finding, ...]:
    """Return findings from predicted and true counts: int64 (C,), over all measured samples.

    what: that is counted, in the plural; () where nothing is wrong.
    """
    absent = [name for name, count in zip(names, true.tolist(), strict=True) if not count]
    return (*one_class(names, said, true, what), *missing_finding(absent, len(names), what))


def one_class(names: Sequence[str], said: Tensor, true: Tensor, what: str) -> tuple[Finding, ...]:
    """Return the finding that one class is predicted for all ``what`` of several; () if not.

    said, true  predicted and true counts: int64 (C,)
    """
    answers = [name for name, count in zip(names, said.tolist(), strict=True) if count]
    if len(answers) != 1 or int(torch.count_nonzero(true)) < 2:
        return ()
    return (
        Finding(
            "one-class-predicted",
            f"the network predicts '{answers[0]}' for all {what}: it distinguishes nothing; train "
            "it longer, look at the learning rate, and at the classes' shares in data.json",
        ),
    )


def missing_finding(absent: Sequence[str], count: int, what: str) -> tuple[Finding, ...]:
    """Return the finding of classes without a measured sample, of ``count``; () if none."""
    if not absent:
        return ()
    shown = ", ".join(f"'{name}'" for name in absent[:NAMED])
    more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
    return (
        Finding(
            "class-not-measured",
            f"the metric is over {count - len(absent)} of {count} classes: no {what} of {shown}"
            f"{more} in what was measured",
        ),
    )


def absent_names(per_class: Mapping[str, float | None]) -> list[str]:
    """Return the classes without a value."""
    return [name for name, value in per_class.items() if value is None]
