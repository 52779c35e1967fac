"""The result of an adaptation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnac.findings import FINDINGS, Finding, written


@dataclasses.dataclass(frozen=True)
class AdaptResult:
    """Outcome of an adaptation; costs are exact MAdds and parameters of the whole network.

    ``baseline``  metric and costs of the seed's own architecture, tuned alike; None: not wanted
    ``seconds``   how long each stage took
    """

    folder: Path
    metric: str
    value: float
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    findings: tuple[Finding, ...]
    baseline: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

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
            FINDINGS: written(self.findings),
        }

    def as_text(self) -> str:
        """Return what ``fnac adapt`` prints at its end."""
        from fnac.text import MADDS_NOTE, human

        share = self.target["madds"] / self.seed["madds"]
        lines = [
            f"{self.metric}  {self.value:.2f}  (model.onnx in onnxruntime, "
            f"{self.target['images']} images)",
            *self._against_baseline(),
            *self._before_tuning(),
            f"seed    {human(self.seed['madds'])} MAdds, {human(self.seed['params'])} params",
            f"target  {human(self.target['madds'])} MAdds ({share:.1%} of the seed), "
            f"{human(self.target['params'])} params{self._input()}   [{MADDS_NOTE}]",
            *(f"note    {finding}" for finding in self.findings),
            *self._times(),
            f"run     {self.folder}   (open report.html)",
        ]
        return "\n".join(lines)

    def _against_baseline(self) -> list[str]:
        from fnac.text import human

        if self.baseline is None:
            return []
        gain = self.value - self.baseline["value"]
        return [
            f"baseline {self.baseline['value']:.2f}  (the seed's own architecture, tuned alike, "
            f"{human(self.baseline['madds'])} MAdds): the target is {gain:+.2f}"
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
