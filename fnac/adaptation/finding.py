"""``tune --find-lr`` and ``--find-batch``: try, print, keep nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from fnac.adaptation.single_stages import tuning
from fnac.config import Config, read
from fnac.data.readers.names import PICTURES
from fnac.errors import UsageError

SHOWN = 15
"""Rows of the table of learning rates, about."""


def run_find(model: Path | str, config: Config, what: Literal["lr", "batch"]) -> dict[str, Any]:
    """Return what a range test found for the tuning that ``config`` describes.

    what  ``lr``: ``points`` (rate, loss), ``lr``, ``head_lr``; ``batch``: ``points`` (images per
          step, images per second), ``batch``, ``limit``

    It trains in a folder that is removed: the file and run folders stay as they are.
    """
    from fnac.stages.tune import open_tuning
    from fnac.stages.tune_settings import TuneSettings
    from fnac.training.finders import find_batch, find_rate

    if str(config.get("adapt", {}).get("data") or "").startswith(PICTURES):
        raise UsageError(f"--find-{what}: wanted a data set with labels, not {PICTURES}FOLDER")
    settings = read(TuneSettings, config)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch) / "run"
        with tuning(model, config, settings, out=where, resume=False) as (on, folder, start, graph):
            task = on.task_for(graph.manifest)
            run = open_tuning(start, on.source, task, folder / "tune", settings, loaded=graph)
            run.open(resume=False)
            if what == "batch":
                sizes = find_batch(run)
                return {"points": sizes.points, "batch": sizes.batch, "limit": sizes.limit}
            rates = find_rate(run)
            return {"points": rates.points, "lr": rates.rate, "head_lr": rates.head_rate}
