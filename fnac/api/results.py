"""Results of the stages: a network, figures, and a printable table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnac.api.network import Network
from fnac.architectures.budget import say
from fnac.findings import Finding
from fnac.text import human, table

if TYPE_CHECKING:
    from fnac.stages.evaluate import EvalResult


def _figures(title: str, rows: Mapping[str, Any]) -> str:
    """Return names and values under a title; what is None is left out."""
    shown = {name: str(value) for name, value in rows.items() if value is not None}
    wide = max(map(len, shown), default=0)
    right = max(map(len, shown.values()), default=0)
    return "\n".join(
        [title, *(f"  {name:<{wide}}  {value:>{right}}" for name, value in shown.items())]
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A finished adaptation: its folder, the emitted model, the metric's value in percent.

    baseline   metric and costs of the seed's own architecture, equally tuned; or None
    per_class  class (joint) -> the metric; None: it does not occur
    """

    folder: Path
    model: Network
    metric: float
    metric_name: str
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    findings: tuple[Finding, ...]
    baseline: Mapping[str, Any] | None = None
    per_class: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        baseline = self.baseline or {}
        control = baseline.get("value")
        rows = [
            ["target", f"{self.metric:.2f}", *_costs(self.target)],
            ["baseline", "" if control is None else f"{control:.2f}", *_costs(self.seed)],
        ]
        notes = "".join(f"\nnote: {finding}" for finding in self.findings)
        head = ["", self.metric_name, "MAdds", "params"]
        return f"fnac.Run in {self.folder}\n{table(head, rows)}{notes}"


@dataclasses.dataclass(frozen=True, repr=False)
class Tuned:
    """A fine-tuned network.

    network  with the weights that were kept: ``best`` or ``last`` says ``weights``
    value    of ``metric`` on the split val in percent; None where there is none. On images without
             labels the ``error`` against the teacher, a share of its outputs' variance
    loss     the last one; None on images without labels
    folder   of the run: checkpoint, metrics.csv, run.log, target.onnx
    """

    network: Network
    folder: Path
    metric: str
    value: float | None
    loss: float | None
    steps: int
    weights: str

    def __repr__(self) -> str:
        digits = 2 if self.metric != "error" else 4
        value = "not measured" if self.value is None else f"{self.value:.{digits}f}"
        loss = None if self.loss is None else f"{self.loss:.4g}"
        rows = {self.metric: value, "loss": loss, "steps": self.steps}
        return _figures(f"fnac.Tuned in {self.folder}", {**rows, "weights": self.weights})


@dataclasses.dataclass(frozen=True, repr=False)
class Searched:
    """A super network with trained weights and alphas.

    expected  cost of the architectures that the alphas would draw, in ``unit``
    entropy   how undecided the alphas are, a share of an even choice's
    """

    network: Network
    folder: Path
    expected: float
    budget: int | None
    unit: str
    entropy: float
    findings: tuple[str, ...]

    def __repr__(self) -> str:
        rows = {
            "expected": say(self.expected, self.unit),
            "budget": None if self.budget is None else say(self.budget, self.unit),
            "entropy": f"{self.entropy:.2f}",
        }
        notes = "".join(f"\nnote: {finding}" for finding in self.findings)
        return _figures(f"fnac.Searched in {self.folder}", rows) + notes


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """A metric of a network in onnxruntime, in percent.

    per_class  class (joint) -> its own; None: it does not occur
    extra      whatever else the task measures, ``AP50``
    details    ``confusion`` or ``precision_recall``, as ``fnac eval --json`` has them
    """

    metric: str
    value: float
    images: int
    split: str
    per_class: Mapping[str, float | None]
    extra: Mapping[str, float]
    details: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, measured: EvalResult) -> Evaluation:
        """Build it from a stage's measurement."""
        return cls(
            measured.metric,
            measured.value,
            measured.images,
            measured.split,
            measured.per_class,
            measured.extra,
            measured.details,
            measured.findings,
        )

    def __repr__(self) -> str:
        rows = {
            name: "absent" if value is None else f"{value:.2f}"
            for name, value in {**self.extra, **self.per_class}.items()
        }
        title = f"{self.metric} {self.value:.2f} on {self.images} images of {self.split}"
        notes = "".join(f"\nnote: {finding}" for finding in self.findings)
        return _figures(title, rows) + notes


def _costs(side: Mapping[str, Any]) -> list[str]:
    return [human(side["madds"]), human(side["params"])]
