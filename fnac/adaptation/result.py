"""The result of an adaptation."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnac.findings import FINDINGS, Finding, written

MOST_CLASSES = 12
"""Classes that the last lines of a run name."""


@dataclasses.dataclass(frozen=True)
class AdaptResult:
    """Outcome of an adaptation; costs are exact MAdds and parameters of the whole network.

    ``baseline``  metric and costs of the seed's own architecture, equally tuned; or None
    ``seconds``   how long each stage took
    ``per_class``  class (joint) -> the metric in percent; None: it does not occur
    """

    folder: Path
    metric: str
    value: float
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    findings: tuple[Finding, ...]
    baseline: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    per_class: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac adapt --json`` prints."""
        return {
            "run": str(self.folder),
            "model": str(self.folder / "model.onnx"),
            "metric": self.metric,
            "value": self.value,
            "seed": dict(self.seed),
            "baseline": None if self.baseline is None else dict(self.baseline),
            "target": dict(self.target),
            "per_class": dict(self.per_class),
            FINDINGS: written(self.findings),
        }

    def as_text(self) -> str:
        """Return what ``fnac adapt`` prints at its end."""
        from fnac.text import MADDS_NOTE, human

        share = self.target["madds"] / self.seed["madds"]
        model, target = self.folder / "model.onnx", self.folder / "target.onnx"
        lines = [
            f"{self.metric}  {self.value:.2f}  (model.onnx in onnxruntime, "
            f"{self.target['images']} images)",
            *self._against_baseline(),
            *self._before_tuning(),
            *self._classes(),
            f"seed    {human(self.seed['madds'])} MAdds, {human(self.seed['params'])} params",
            f"target  {human(self.target['madds'])} MAdds ({share:.1%} of the seed), "
            f"{human(self.target['params'])} params{self._input()}   [{MADDS_NOTE}]",
            *(f"note    {finding}" for finding in self.findings),
            *self._times(),
            f"run     {self.folder}   (open report.html)",
            f"model   {model}{_size_of(model)}, with example.py, model.json and README.md",
            f"next    fnac predict {_word(model)} IMAGE|FOLDER -o seen/",
            f"        fnac emit {_word(target)} --int8 --data SPEC -o int8.onnx",
        ]
        return "\n".join(lines)

    def _classes(self) -> list[str]:
        """Return the metric of each class; of many, the lowest."""
        known = [(name, value) for name, value in self.per_class.items() if value is not None]
        if not known:
            return []
        lead, shown = "classes", known
        if len(known) > MOST_CLASSES:
            lead = f"lowest of {len(known)} classes"
            shown = sorted(known, key=lambda one: one[1])[:MOST_CLASSES]
        text = ", ".join(f"{name} {value:.1f}" for name, value in shown)
        absent = [name for name, value in self.per_class.items() if value is None]
        return [f"{lead}  {text}" + (f"; absent: {', '.join(absent)}" if absent else "")]

    def _against_baseline(self) -> list[str]:
        from fnac.text import human

        if self.baseline is None:
            return []
        gain = self.value - self.baseline["value"]
        return [
            f"baseline {self.baseline['value']:.2f}  (the seed's own architecture, tuned with the "
            f"same schedule, {human(self.baseline['madds'])} MAdds): the target is {gain:+.2f}"
        ]

    def _before_tuning(self) -> list[str]:
        shown = [
            f"{name} {side['before_tuning']:.2f}"
            for name, side in (("target", self.target), ("baseline", self.baseline or {}))
            if "before_tuning" in side
        ]
        return [f"before  {', '.join(shown)}  (before the tuning)"] if shown else []

    def _input(self) -> str:
        """Return the size and the output stride that were chosen, in words."""
        if "size" not in self.target:
            return ""
        height, width = self.target["size"]
        stride = self.target.get("output_stride")
        return f", images of {height}x{width}" + (f", output stride {stride}" if stride else "")

    def _times(self) -> list[str]:
        if not self.seconds:
            return []
        shown = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in self.seconds.items())
        return [f"time    {shown}"]


def _size_of(model: Path) -> str:
    return f" ({model.stat().st_size / 1e6:.2f} MB)" if model.exists() else ""


def _word(path: Path) -> str:
    return shlex.quote(str(path))
