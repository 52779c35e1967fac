"""Run parts of a study in parallel: on this machine, or on the cluster in RAY_ADDRESS."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fnac.study.one_run import run_one
from fnac.study.study_file import StudyRun


def run_on_ray(runs: Sequence[StudyRun], folder: Path, processes: int) -> list[str | None]:
    """Run them, at most ``processes`` at once; return why each failed, None if it did not.

    Machines of a cluster must see ``folder`` and the data under the same paths.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS")
    cpus = None if address else processes
    ray.init(address=address, num_cpus=cpus, include_dashboard=False, log_to_driver=True)
    try:
        task = ray.remote(num_cpus=1)(run_in_worker)
        waiting = [task.remote(run, folder.resolve()) for run in runs]
        return list(ray.get(waiting))
    finally:
        ray.shutdown()


def run_in_worker(run: StudyRun, folder: Path) -> str | None:
    """Run one in a process where no command line set up logging: run.log gets all the same."""
    logging.getLogger("fnac").setLevel(logging.INFO)
    return run_one(run, folder)
