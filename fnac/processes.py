"""The processes of a run: one, or those that torchrun started, of which the first one speaks."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from fnac.runs import claim, latest


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The processes of a distributed run; alone, the first and nothing to wait for."""

    first: bool
    fabric: Any = None

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.fabric is not None:
            self.fabric.barrier()


def is_first_rank() -> bool:
    """Say whether this process is the only one, or torchrun's first."""
    return int(os.environ.get("RANK", "0")) == 0


def claim_for_all(
    out: Path | None, name: str, resume: bool, device: Any = None
) -> tuple[Path, Ranks]:
    """Let the first process claim the run folder and tell the others."""
    take = latest if resume else claim
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return take(out, name), Ranks(first=True)
    from fnac.training import RuntimeSettings, open_fabric

    fabric = open_fabric(RuntimeSettings(device=device or "auto"))
    folder = str(take(out, name)) if fabric.is_global_zero else ""
    return Path(fabric.broadcast(folder)), Ranks(fabric.is_global_zero, fabric)
