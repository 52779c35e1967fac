"""The processes of a distributed run."""

from __future__ import annotations

import dataclasses
import os
from typing import Any


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The processes of a distributed run; a single process is the first and never waits."""

    first: bool
    fabric: Any = None

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.fabric is not None:
            self.fabric.barrier()


def is_first_rank() -> bool:
    """Say whether this process is the only one, or torchrun's first."""
    return int(os.environ.get("RANK", "0")) == 0
