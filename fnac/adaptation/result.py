"""What an adaptation ended with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnac.findings import FINDINGS, Finding, written


@dataclasses.dataclass(frozen=True)
class AdaptResult:
    """Outcome of an adaptation; costs are exact MAdds and parameters of the whole network."""

    folder: Path
    metric: str
    value: float
    seed: Mapping[str, Any]
    target: Mapping[str, Any]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``fnac adapt --json`` prints."""
        return {
            "run": str(self.folder),
            "model": str(self.folder / "model.onnx"),
            "metric": self.metric,
            "value": self.value,
            "seed": dict(self.seed),
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
            f"seed    {human(self.seed['madds'])} MAdds, {human(self.seed['params'])} params",
            f"target  {human(self.target['madds'])} MAdds ({share:.1%} of the seed), "
            f"{human(self.target['params'])} params   [{MADDS_NOTE}]",
            *(f"note    {finding}" for finding in self.findings),
            f"run     {self.folder}   (open report.html)",
        ]
        return "\n".join(lines)
