"""Run a case that lies beside the checkout: ``python tests/support/run_case.py CASE.py [FOLDER]``.

Cases were written against an earlier tree; a module that they know by its name of then is found.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

MOVED = {
    "fnac.checkpoints": "fnac.training.checkpoints",
    "fnac.passes.anchors": "fnac.passes.emit.anchors",
}
"""What a module was called -> what it is called."""


def find_moved(text: str) -> None:
    """Let the modules of ``MOVED`` that a program imports be found by their earlier names."""
    for before, now in MOVED.items():
        if f"from {before} import" in text:
            sys.modules[before] = importlib.import_module(now)


def main(case: str, *arguments: str) -> None:
    """Run the case; its exit code is that of this program."""
    find_moved(Path(case).read_text())
    sys.argv = [case, *arguments]
    runpy.run_path(case, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
