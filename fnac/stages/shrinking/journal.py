"""The measurements of a shrink so far, in a file from which a stopped one continues.

Each block's sensitivity and the error of each network that was made are kept as they are known, in
full precision: a resumed shrink ends with the same file, to the bit, as one that ran through.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fnac.config import as_plain, write_json
from fnac.errors import UsageError
from fnac.passes.graph import Graph
from fnac.passes.shrink.answers import Verdict
from fnac.passes.shrink.sensitivity import Sensitivity
from fnac.stages.shrinking.settings import ShrinkSettings

FORMAT = 2
Widths = tuple[int, ...]


class Journal:
    """Measurements of one network, on one set of images, for one budget.

    path     of the file; None: nothing is kept
    matters  digest of all that the measurements depend on

    Raises UsageError for a file that is none, or that holds measurements of something else.
    """

    def __init__(self, path: Path | None, matters: str, *, resume: bool = False) -> None:
        self.path, self.matters = path, matters
        self.known: dict[str, Sensitivity] = {}
        self.verdicts: dict[Widths, Verdict] = {}
        if path is None or not resume:
            return
        if not path.exists():
            raise UsageError(f"--resume: {path} is not there: nothing was begun; drop --resume")
        self._read(path)

    def note_block(self, one: Sensitivity) -> None:
        """Store the measurements of one block."""
        self.known[one.name] = one
        self._write()

    def note_network(self, widths: Widths, verdict: Verdict) -> None:
        """Store the verdict on one network."""
        self.verdicts[widths] = verdict
        self._write()

    def remove(self) -> None:
        """Remove the file: the shrink has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self.path is None:
            return
        blocks = [
            {
                "name": one.name,
                "count": one.count,
                "widths": list(one.widths),
                "curve": one.curve.tolist(),
                "probed": [[width, error] for width, error in one.probed.items()],
            }
            for one in self.known.values()
        ]
        networks = [
            [list(widths), one.error, one.by_image.tolist()]
            for widths, one in self.verdicts.items()
        ]
        content = {"format": FORMAT, "of": self.matters, "blocks": blocks, "networks": networks}
        write_json(self.path, content)

    def _read(self, path: Path) -> None:
        try:
            content: Mapping[str, Any] = json.loads(path.read_text())
            of = content["of"]
            known = [
                Sensitivity(
                    one["name"],
                    int(one["count"]),
                    tuple(one["widths"]),
                    np.asarray(one["curve"], np.float64),
                    {int(width): float(error) for width, error in one["probed"]},
                )
                for one in content["blocks"]
            ]
            verdicts = {
                tuple(widths): Verdict(float(error), np.asarray(by_image, np.float64))
                for widths, error, by_image in content["networks"]
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}: not the measurements of a shrink ({error}); remove it and drop --resume"
            ) from error
        if of != self.matters:
            raise UsageError(
                f"{path}: begun with another network, other images or other settings; give the "
                "same ones, or drop --resume to start again"
            )
        self.known = {one.name: one for one in known}
        self.verdicts = verdicts


def digest(graph: Graph, images: np.ndarray, budget: str, settings: ShrinkSettings) -> str:
    """Return a digest that identifies a shrink: network, images, budget and settings."""
    total = hashlib.sha256(graph.to_model().SerializeToString(deterministic=True))
    total.update(np.ascontiguousarray(images).tobytes())
    total.update(json.dumps([budget, as_plain(settings)], sort_keys=True).encode())
    return total.hexdigest()
